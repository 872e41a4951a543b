"""What the control plane's parts tell each other, and its API tells the world.

`SensorSpec` is what people ask for; the views are what is known of it. All of
them are immutable, and the API's OpenAPI document is made from them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from hyperv.guest.machine import UNITS
from hyperv.model import Endpoint, MachineSource, MetricSpec, Source, VmSpec
from wire.ids import InvalidIdError, check_dns_label, check_metric, check_unit
from wire.status import StreamStatus

MAX_METRICS: Final = 64

SensorStatus = Literal["live", "pending", "degraded", "rejected", "unreachable", "removing"]


# --- errors -----------------------------------------------------------------------------------
class FleetError(Exception):
    """What was asked of the fleet cannot be done; the text is a sentence for whoever asked."""


class SensorExistsError(FleetError):
    """A sensor of this id exists; `removing` says whether it is on its way out."""

    def __init__(self, sensor_id: str, *, removing: bool = False) -> None:
        self.sensor_id = sensor_id
        self.removing = removing
        super().__init__(
            f"sensor {sensor_id} is being removed: its id is free once it is gone"
            if removing
            else f"a sensor {sensor_id} exists already"
        )


class UnknownSensorError(FleetError):
    """There is no sensor of this id."""

    def __init__(self, sensor_id: str) -> None:
        self.sensor_id = sensor_id
        super().__init__(f"there is no sensor {sensor_id}")


class UnknownHostError(FleetError):
    """There is no host of this id; `known` are those that there are."""

    def __init__(self, host_id: str, known: Iterable[str]) -> None:
        self.host_id = host_id
        self.known = tuple(sorted(known))
        super().__init__(
            f"host must be one of {', '.join(self.known) or '(none is configured)'}; not {host_id}"
        )


class StoreUnavailableError(FleetError):
    """The desired state cannot be written now. Nothing may be known of what was asked: ask again."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the store does not answer: {reason}; what was asked for may be done all the same")


class AuditUnavailableError(FleetError):
    """No worker answers for `shards`."""

    def __init__(self, shards: Iterable[int]) -> None:
        self.shards = tuple(sorted(shards))
        listed = ", ".join(map(str, self.shards))
        super().__init__(f"no worker answers for shard {listed}: counters of a part would mislead")


# --- what people ask for ----------------------------------------------------------------------
class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SensorSpec(_Value):
    """A sensor as it is asked for.

    Attributes:
        id: The sensor, a DNS label; it never changes.
        host: The host that its VM runs on.
        site: Where it stands, a DNS label.
        metrics: What it measures. Of a replay exactly one; of a machine any of
            hyperv.guest.machine.UNITS, each with its own unit.
        source: Where readings come from.
        flush_ms: How long its agent gathers readings into a frame.
        spool_bytes: How much its agent keeps on disk.
    """

    id: str
    host: str = "lab"
    site: str
    metrics: Annotated[tuple[MetricSpec, ...], Field(min_length=1, max_length=MAX_METRICS)]
    source: Source
    flush_ms: Annotated[int, Field(ge=10, le=10_000)] = 200
    spool_bytes: Annotated[int, Field(ge=65_536, le=1 << 40)] = 64 * 1024 * 1024

    @field_validator("id", "host", "site")
    @classmethod
    def _labels(cls, value: str) -> str:
        try:
            return check_dns_label("id", value)
        except InvalidIdError as error:
            raise _broken(error.rule) from error

    @field_validator("metrics")
    @classmethod
    def _metrics(cls, metrics: tuple[MetricSpec, ...]) -> tuple[MetricSpec, ...]:
        for metric in metrics:
            try:
                check_metric(metric.name, "name")
                check_unit(metric.unit, "unit")
            except InvalidIdError as error:
                raise _broken(f"{error.field} {error.value!r} {error.rule}") from error
        twice = [name for name, count in Counter(metric.name for metric in metrics).items() if count > 1]
        if twice:
            raise _broken(f"each metric must have a name of its own; twice: {', '.join(twice)}")
        return metrics

    @model_validator(mode="after")
    def _source_measures_metrics(self) -> Self:
        if isinstance(self.source, MachineSource):
            for metric in self.metrics:
                _check_quantity(metric)
        elif len(self.metrics) != 1:
            raise _broken("metrics must be exactly one for a source of kind replay")
        return self

    def vm_spec(self) -> VmSpec:
        """Return what a host is told of the sensor's VM."""
        return VmSpec(
            sensor_id=self.id,
            metrics=self.metrics,
            source=self.source,
            flush_ms=self.flush_ms,
            spool_bytes=self.spool_bytes,
        )


def _check_quantity(metric: MetricSpec) -> None:
    unit = UNITS.get(metric.name)
    if unit is None:
        raise _broken(f"metrics of a machine must be among {', '.join(UNITS)}; not {metric.name!r}")
    if metric.unit != unit:
        raise _broken(f"metrics: the unit of {metric.name} must be {unit!r}, not {metric.unit!r}")


def _broken(rule: str) -> PydanticCustomError:
    """Return an error whose message is the rule alone; pydantic's location names the field."""
    return PydanticCustomError("rule", "{rule}", {"rule": rule})


# --- what is known ----------------------------------------------------------------------------
class VmView(_Value):
    """What the host says of a sensor's VM."""

    vm_id: str
    state: Literal["starting", "running", "failed"]
    incarnation: str | None
    message: str | None


class SensorView(_Value):
    """A sensor: what was asked for, and how far the fleet is with it.

    Attributes:
        created_at: When it was asked for, UTC.
        revision: Rises with every change of what is asked for; the ETag.
        shard: Which shard its readings go to (wire.ids.shard_of).
        status: One word. `live` is proved: Envoy runs the endpoint, the worker
            acknowledged the assignment to it, and said at most 5 s ago that the
            stream from it is live.
        message: One sentence: what is waited for, or what is wrong.
        endpoint: Where its agent serves, if that is known.
        vm: None while the host has none, or has not said.
        stream: What its worker said last; None if it said nothing.
        node: The worker that holds it, if one does.
    """

    id: str
    host: str
    site: str
    metrics: tuple[MetricSpec, ...]
    source: Source
    flush_ms: int
    spool_bytes: int
    created_at: datetime
    revision: int
    shard: int
    status: SensorStatus
    message: str
    endpoint: Endpoint | None
    vm: VmView | None
    stream: StreamStatus | None
    node: str | None


class HostView(_Value):
    """A hypervisor host. `vms` is how many it last had, `sensors` how many belong there."""

    id: str
    kind: str
    url: str
    status: Literal["up", "unreachable"]
    message: str
    vms: int
    sensors: int
