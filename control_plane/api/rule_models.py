"""What the API takes and gives about rules and events, beside the values of control_plane.rule_model."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from control_plane.api.models import LABEL_PATTERN, Moment
from control_plane.rule_model import RuleView

MAX_EVENTS: Final = 1_000


class EventsQuery(BaseModel):
    """Which events."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: Annotated[
        str | None, Field(pattern=LABEL_PATTERN, description="Of this rule; of all if left out.")
    ] = None
    sensor: Annotated[
        str | None, Field(pattern=LABEL_PATTERN, description="Of this sensor; of all if left out.")
    ] = None
    since: Annotated[Moment, Field(description="Journalled since: a time, or how long ago.")] = "1h"
    limit: Annotated[int, Field(ge=1, le=MAX_EVENTS, description="The newest so many.")] = 100


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class RuleList(_Body):
    """Every rule, by id."""

    rules: list[RuleView]


class EventData(_Body):
    """What begins or ends.

    Attributes:
        event: The event's id, the same when it begins and when it ends.
        revision: Of the rule.
        since: Since when the condition holds.
        epoch: With `seq`, the reading that the event begins with; of `missing`, the last one.
        value: What the rule looked at then: a value, a change a second, seconds ahead of the journal's clock.
        reason: Why it ends: `cleared`, `rule_changed`, `rule_removed` or `sensor_moved`.
    """

    event: str
    rule: str
    revision: int
    kind: str
    sensor: str
    site: str
    metric: str | None
    unit: str | None
    since: str
    epoch: str
    seq: int
    value: float | None
    reason: str | None = None


class CloudEvent(_Body):
    """A CloudEvent 1.0 in structured form. `id` and `source` name it; `time` has nanoseconds."""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: Literal["gaugeway.event.begin", "gaugeway.event.end"]
    subject: str
    time: str
    datacontenttype: Literal["application/json"]
    data: EventData


class EventList(_Body):
    """Events, newest last."""

    events: list[CloudEvent]
