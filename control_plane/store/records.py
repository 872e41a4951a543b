"""What the desired state's buckets hold, as JSON. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from control_plane.model import SensorSpec
from control_plane.resources.worker import WindowPolicy, WindowSize
from control_plane.rule_model import RuleSpec
from hyperv.model import VmSpec

SHARDS_KEY: Final = "shards"
POLICY_KEY: Final = "policy"
LEASE_PREFIX: Final = "lease."
ENDPOINT_PREFIX: Final = "endpoint."
LEADER_KEY: Final = "leader"


class RecordFormatError(ValueError):
    """A record cannot be read: it was written by a newer version, or by hand."""


class Record(BaseModel):
    """Base of the records: unknown fields are kept out, so that versions can meet."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def encode(self) -> bytes:
        """Return the record as JSON."""
        return self.model_dump_json().encode()


class SensorRecord(Record):
    """A sensor that somebody asked for. `removing` is final."""

    spec: SensorSpec
    created_unix_ns: int
    removing: bool = False


class RuleRecord(Record):
    """A rule that somebody asked for."""

    spec: RuleSpec


class HostRecord(Record):
    """A hypervisor host."""

    kind: Literal["lab"]
    url: str


class LeaseRecord(Record):
    """Who owns a shard. `generation` rises only when `owner` changes."""

    owner: str
    generation: int


@dataclass(frozen=True, slots=True)
class Sensor:
    """A sensor's record as of a revision of its key, and the VM that follows from it."""

    record: SensorRecord
    revision: int
    vm: VmSpec
    vm_hash: str

    @classmethod
    def of(cls, record: SensorRecord, revision: int) -> Sensor:
        """Return a sensor."""
        vm = record.spec.vm_spec()
        return cls(record, revision, vm, vm.spec_hash())


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease's record as of a revision of its key."""

    owner: str
    generation: int
    revision: int


class LeaderRecord(Record):
    """Which replica of the control plane leads. `instance` is its process, `replica` its name for people."""

    replica: str
    instance: str
    api_url: str
    xds_address: str


UNKNOWN_LEADER: Final = LeaderRecord(replica="unknown", instance="", api_url="", xds_address="")


class WindowSizeRecord(Record):
    """One size of window."""

    size_ms: int
    journalled: bool


class PolicyRecord(Record):
    """The window policy (control_plane.resources.worker.WindowPolicy)."""

    sizes: tuple[WindowSizeRecord, ...]
    horizon_ms: int
    idle_close_ms: int
    max_future_skew_ms: int
    max_past_ms: int

    def policy(self) -> WindowPolicy:
        """Return the policy as it is sent to workers."""
        sizes = tuple(WindowSize(size.size_ms, journalled=size.journalled) for size in self.sizes)
        return WindowPolicy(
            sizes=sizes,
            horizon_ms=self.horizon_ms,
            idle_close_ms=self.idle_close_ms,
            max_future_skew_ms=self.max_future_skew_ms,
            max_past_ms=self.max_past_ms,
        )


R = TypeVar("R", bound=BaseModel)


def decode(kind: type[R], key: str, value: bytes) -> R:
    """Return the record of a key. Raises RecordFormatError."""
    try:
        return kind.model_validate_json(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "record"
        raise RecordFormatError(f"{key} is not a {kind.__name__}: {place}: {first['msg']}") from error
