"""Rules as people ask for them: when an event of a series begins, and when it ends.

What each kind means exactly is said in docs/adr/0016; workers follow them
(gaugeway.config.v1.Rule).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from control_plane.model import FleetError
from wire.ids import InvalidIdError, check_dns_label

MAX_MS: Final = 31 * 86_400_000
MAX_PATTERNS: Final = 32
MAX_RULES: Final = 256  # a worker remembers up to 88 bytes for each of its series and each rule about it
MAX_RULES_BYTES: Final = 256 << 10  # of all rules as JSON: a record of the journal holds every one
PATTERN: Final = r"^[a-z0-9_*?-]{1,63}$"
KINDS: Final = ("threshold", "rate", "flatline", "missing", "clock_skew")


class UnknownRuleError(FleetError):
    """There is no rule of this id."""

    def __init__(self, rule_id: str) -> None:
        self.rule_id = rule_id
        super().__init__(f"there is no rule {rule_id}")


class RuleConflictError(FleetError):
    """A rule has another revision than the writer saw; `revision` 0: there is none."""

    def __init__(self, rule_id: str, revision: int) -> None:
        self.rule_id = rule_id
        self.revision = revision
        super().__init__(
            f"rule {rule_id} has revision {revision}" if revision else f"there is no rule {rule_id}"
        )


class TooManyRulesError(FleetError):
    """There would be too many rules, or they would be too large together."""

    def __init__(self) -> None:
        super().__init__(
            f"there must be at most {MAX_RULES} rules, of {MAX_RULES_BYTES >> 10} KiB together as JSON"
        )


class EventsUnavailableError(FleetError):
    """The journal cannot be read now."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the journal does not answer: {reason}")


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Ms = Annotated[int, Field(ge=1, le=MAX_MS)]
_MsOrNone = Annotated[int, Field(ge=0, le=MAX_MS)]
_Pattern = Annotated[str, Field(pattern=PATTERN)]
_Patterns = Annotated[tuple[_Pattern, ...], Field(max_length=MAX_PATTERNS)]


class Selection(_Value):
    """Which series a rule is about: those that match one pattern of each list; an empty list matches all.

    In a pattern `*` stands for any characters, `?` for one.
    """

    sensors: _Patterns = ()
    sites: _Patterns = ()
    metrics: _Patterns = ()


class ThresholdCondition(_Value):
    """A value beyond `level`, for `for_ms` of event time; it ends when a value is back at `clear`."""

    kind: Literal["threshold"]
    side: Literal["above", "below"]
    level: _Finite
    clear: Annotated[_Finite | None, Field(description="`level` if left out.")] = None
    for_ms: _MsOrNone = 0

    @field_validator("clear")
    @classmethod
    def _on_this_side(cls, clear: float | None, info: ValidationInfo) -> float | None:
        side, level = info.data.get("side"), info.data.get("level")
        if clear is not None and level is not None and side is not None:
            if side == "above" and clear > level:
                raise _broken("must not be above level")
            if side == "below" and clear < level:
                raise _broken("must not be below level")
        return clear


class RateCondition(_Value):
    """A change of more than `per_s` a second; it ends when a change is back at `clear`.

    Changes are taken between the first readings of successive spans of event time.
    """

    kind: Literal["rate"]
    direction: Literal["rise", "fall", "either"] = "either"
    per_s: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    clear: Annotated[_Finite | None, Field(description="`per_s` if left out.")] = None
    span_ms: _Ms = 10_000

    @field_validator("clear")
    @classmethod
    def _below(cls, clear: float | None, info: ValidationInfo) -> float | None:
        per_s = info.data.get("per_s")
        if clear is not None and per_s is not None and clear > per_s:
            raise _broken("must not be above per_s")
        return clear


class FlatlineCondition(_Value):
    """No value that differs by more than `epsilon`, for `for_ms` of event time."""

    kind: Literal["flatline"]
    epsilon: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    for_ms: _Ms


class MissingCondition(_Value):
    """No reading of a series that had some, for `for_ms` by the journal's clock."""

    kind: Literal["missing"]
    for_ms: _Ms


class ClockSkewCondition(_Value):
    """Readings that are quarantined for their time, or are `behind_ms` behind the journal's clock.

    All of a sensor's must be, for `for_ms` by the journal's clock. `behind_ms` 0: only what is quarantined.
    """

    kind: Literal["clock_skew"]
    behind_ms: _MsOrNone = 0
    for_ms: _MsOrNone = 0


Condition = ThresholdCondition | RateCondition | FlatlineCondition | MissingCondition | ClockSkewCondition


class RuleBody(_Value):
    """A rule as it is asked for, but for its id."""

    selection: Selection = Selection()
    condition: Annotated[Condition, Field(discriminator="kind")]

    @model_validator(mode="after")
    def _clocks_have_no_metric(self) -> RuleBody:
        if self.condition.kind == "clock_skew" and self.selection.metrics:
            raise _broken("selection.metrics must be empty: a clock is a sensor's, not a metric's")
        return self


class RuleSpec(RuleBody):
    """A rule as it is asked for. Its id, a DNS label, never changes."""

    id: str

    @field_validator("id")
    @classmethod
    def _label(cls, value: str) -> str:
        try:
            return check_dns_label("id", value)
        except InvalidIdError as error:
            raise _broken(error.rule) from error


class RuleView(RuleSpec):
    """A rule in force. `revision` is another one after every change; events name it."""

    revision: int


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as of a revision of its key."""

    spec: RuleSpec
    revision: int


def _broken(rule: str) -> PydanticCustomError:
    """Return an error whose message is the rule alone; pydantic's location names the field."""
    return PydanticCustomError("rule", "{rule}", {"rule": rule})
