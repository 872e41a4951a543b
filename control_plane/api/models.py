"""What the API takes and gives, beside the values of control_plane.model."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from control_plane.api.times import DURATION_PATTERN, moment_ns, size_ms
from control_plane.model import MAX_METRICS, HostView, SensorSpec, SensorStatus, SensorView
from control_plane.node_model import NodeSummary, NodeView, ResourceState
from hyperv.model import MetricSpec
from wire.status import SensorAudit, SinkStatus

# The rules of wire.ids, for the document; a test holds them against each other.
LABEL_PATTERN: Final = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
METRIC_PATTERN: Final = "^[a-z][a-z0-9_]{0,62}$"
UNIT_PATTERN: Final = "^[!-~]{1,32}$"

MAX_LIVE_SENSORS: Final = 64
MAX_WINDOWS: Final = 10_000


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Query(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# --- taken ----------------------------------------------------------------------------------
_Label = Annotated[str, Field(json_schema_extra={"pattern": LABEL_PATTERN, "examples": ["press-1"]})]


class NewMetric(MetricSpec):
    """One quantity that a sensor measures: its name, and its UCUM unit (`Cel`, `%`, `kPa`)."""

    name: Annotated[str, Field(json_schema_extra={"pattern": METRIC_PATTERN, "examples": ["temperature"]})]
    unit: Annotated[str, Field(json_schema_extra={"pattern": UNIT_PATTERN, "examples": ["Cel"]})]


class NewSensor(SensorSpec):
    """A sensor as it is asked for; its rules are those of SensorSpec, said in the document too."""

    id: _Label
    host: _Label = "lab"
    site: _Label
    metrics: Annotated[tuple[NewMetric, ...], Field(min_length=1, max_length=MAX_METRICS)]


def _check_moment(text: str) -> str:
    moment_ns(text, 0)
    return text


def _check_size(text: str) -> str:
    size_ms(text)
    return text


Moment = Annotated[
    str,
    AfterValidator(_check_moment),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "string", "pattern": DURATION_PATTERN},
            ],
            "examples": ["10m", "2026-01-31T12:00:00Z"],
        }
    ),
]
Size = Annotated[
    str,
    AfterValidator(_check_size),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{0,2}(ms|s|m)$", "examples": ["10s", "60s"]}),
]


class NoQuery(_Query):
    """No parameters."""


class WindowsQuery(_Query):
    """Which windows of a sensor."""

    metric: Annotated[str, Field(pattern=METRIC_PATTERN, description="One of the sensor's metrics.")]
    size: Annotated[Size, Field(description="Their size; by default 10 s and 60 s are kept.")] = "10s"
    since: Annotated[Moment, Field(description="First beginning: a time, or how long ago.")] = "1h"
    until: Annotated[
        Moment | None, Field(description="Beginnings before this: a time, or how long ago; now if left out.")
    ] = None
    limit: Annotated[int, Field(ge=1, le=MAX_WINDOWS, description="The newest so many.")] = 1000


class LiveWindowsQuery(_Query):
    """Whose windows to send."""

    sensor: Annotated[
        list[str],
        Field(min_length=1, max_length=MAX_LIVE_SENSORS, description="Sensor id; may be repeated."),
    ]


class NodeQuery(_Query):
    """Which of a node's resources."""

    type: Annotated[
        str | None,
        Field(
            pattern="^[A-Za-z]{1,64}$",
            description="Short name of their type; all if left out.",
            json_schema_extra={"examples": ["Cluster", "SensorAssignment"]},
        ),
    ] = None
    state: Annotated[ResourceState | None, Field(description="Those in this state; all if left out.")] = None


# --- given ----------------------------------------------------------------------------------
class SensorList(_Body):
    """Every sensor, by id."""

    sensors: list[SensorView]


class HostList(_Body):
    """Every hypervisor host, by id."""

    hosts: list[HostView]


class NodeList(_Body):
    """Every Envoy and worker."""

    nodes: list[NodeView]


class SinkList(_Body):
    """The last status of every sink."""

    sinks: list[SinkStatus]


class AuditedShard(_Body):
    """How far a shard's counters go: after readings record `through` of `generation`."""

    shard: int
    generation: int
    through: int


class Audit(_Body):
    """What became of every reading, by sensor."""

    shards: list[AuditedShard]
    sensors: list[SensorAudit]


class Window(_Body):
    """A window of the past, its highest revision; the columns of the warehouse's view."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sensor_id: str
    site: str
    metric: str
    unit: str
    size_ms: int
    window_start: datetime
    window_end: datetime
    revision: int
    count: int
    min: float | None
    max: float | None
    sum: float | None
    mean: float | None
    stddev: float | None
    first: float | None
    first_time: datetime | None
    last: float | None
    last_time: datetime | None
    p50: float | None
    p95: float | None
    p99: float | None


class WindowList(_Body):
    """Windows, newest last."""

    windows: list[Window]


class FleetStatus(_Body):
    """The installation at a glance.

    Attributes:
        sensors: How many there are in all (`total`) and by status.
        readings_per_s: Of all sensors.
    """

    sensors: dict[Literal["total"] | SensorStatus, int]
    readings_per_s: float
    shards: int
    nodes: list[NodeSummary]
    sinks: list[SinkStatus]
    urls: dict[str, str]
    version: str


class SensorSummary(_Body):
    """A sensor as the fleet's event stream tells it."""

    id: str
    site: str
    host: str
    status: SensorStatus
    message: str
    readings_per_s: float
    metrics: list[str]


class SensorsEvent(_Body):
    """Data of the event `sensors`: every sensor, by id."""

    sensors: list[SensorSummary]


class Alive(_Body):
    """The process serves requests."""

    alive: Literal[True] = True


class Ready(_Body):
    """The control plane serves."""

    ready: Literal[True] = True
