"""What an agent is told, read from the JSON of a `hyperv.model.VmSpec`.

The host has validated it. Plain dataclasses, because an agent has to start in
an instant and hundreds of them share a machine: pydantic costs more than all
else that an agent loads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """One quantity that the sensor measures."""

    name: str
    unit: str


@dataclass(frozen=True, slots=True)
class MachineSource:
    """Quantities of this machine, every `interval_ms`."""

    interval_ms: int


@dataclass(frozen=True, slots=True)
class ReplaySource:
    """A recording, `speed` times as fast as it was recorded."""

    recording: str
    speed: float
    loop: bool


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """The agent of one sensor; fields as in VmSpec."""

    sensor_id: str
    metrics: tuple[Metric, ...]
    source: MachineSource | ReplaySource
    flush_ms: int
    spool_bytes: int


def read_spec(text: str) -> AgentSpec:
    """Return the spec that is the JSON of a VmSpec. Raises ValueError, KeyError or TypeError if it is not."""
    data = json.loads(text)
    source = dict(data["source"])
    kinds: dict[str, type[MachineSource | ReplaySource]] = {"machine": MachineSource, "replay": ReplaySource}
    return AgentSpec(
        sensor_id=data["sensor_id"],
        metrics=tuple(Metric(**metric) for metric in data["metrics"]),
        source=kinds[source.pop("kind")](**source),
        flush_ms=data["flush_ms"],
        spool_bytes=data["spool_bytes"],
    )
