"""What a host is told of a VM, and what it says of it."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MetricSpec(_Value):
    """One quantity that a sensor measures."""

    name: str
    unit: str


class MachineSource(_Value):
    """Captures quantities of the machine that runs the agent; one per declared metric.

    Metric names are those of `hyperv.guest.machine.UNITS`.
    """

    kind: Literal["machine"] = "machine"
    interval_ms: Annotated[int, Field(ge=10, le=3_600_000)] = 1000


class ReplaySource(_Value):
    """Replays a recording that ships with the agent, as the sensor's only metric.

    Event times are the recording's own spacing divided by `speed`, from the
    moment at which the spool began. At the end it begins again if `loop`.
    """

    kind: Literal["replay"] = "replay"
    recording: Literal["machine_temperature", "ambient_temperature"]
    speed: Annotated[float, Field(gt=0, le=1_000_000)] = 300.0
    loop: bool = True


Source = Annotated[MachineSource | ReplaySource, Field(discriminator="kind")]


class VmSpec(_Value):
    """The VM of one sensor. Equal specs have equal hashes. The agent reads it by hyperv.guest.spec."""

    sensor_id: str
    metrics: tuple[MetricSpec, ...]
    source: Source
    flush_ms: Annotated[int, Field(ge=10, le=10_000)] = 200
    spool_bytes: Annotated[int, Field(ge=65_536, le=1 << 40)] = 64 * 1024 * 1024

    def spec_hash(self) -> str:
        """Return the first 16 hexadecimal digits of SHA-256 over the spec's canonical JSON."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


class Endpoint(_Value):
    """Where a VM's agent serves its stream."""

    address: str
    port: int

    @property
    def version(self) -> str:
        """The endpoint as one word: `<address>:<port>`."""
        return f"{self.address}:{self.port}"


class VmState(_Value):
    """What a host says of one VM."""

    vm_id: str
    sensor_id: str
    spec_hash: str
    state: Literal["starting", "running", "failed"]
    endpoint: Endpoint | None = None  # present once the agent serves there
    incarnation: str | None = None  # one run of the agent
    message: str | None = None
