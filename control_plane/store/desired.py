"""The desired state: sensors, hosts and settings, in memory and in JetStream KV."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Final, TypeVar

import structlog
from pydantic import BaseModel

from control_plane.config import HostConfig
from control_plane.ending import end
from control_plane.model import (
    SensorExistsError,
    SensorSpec,
    StoreUnavailableError,
    UnknownHostError,
    UnknownSensorError,
)
from control_plane.resources.worker import WindowPolicy
from control_plane.rule_model import Rule
from control_plane.store.bucket import Bucket, ConflictError
from control_plane.store.connection import Connection
from control_plane.store.mirror import Entry
from control_plane.store.records import (
    ENDPOINT_PREFIX,
    LEADER_KEY,
    LEASE_PREFIX,
    POLICY_KEY,
    SHARDS_KEY,
    UNKNOWN_LEADER,
    HostRecord,
    LeaderRecord,
    Lease,
    LeaseRecord,
    PolicyRecord,
    RecordFormatError,
    Sensor,
    SensorRecord,
    decode,
)
from control_plane.store.rules import RuleStore
from hyperv.model import Endpoint
from wire.names import HOSTS_BUCKET, SENSORS_BUCKET, SETTINGS_BUCKET

log = structlog.get_logger(__name__)

K = TypeVar("K")
V = TypeVar("V")
M = TypeVar("M", bound=BaseModel)

_START_RETRY_S: Final = 0.25
_MAX_CONFLICTS: Final = 8


class ShardsChangedError(RuntimeError):
    """The installation has another number of shards than this control plane was told."""

    def __init__(self, installed: int, told: int) -> None:
        self.installed = installed
        self.told = told
        super().__init__(
            f"shards must be {installed}, as this installation was set up with; it is {told}. The number "
            "cannot change later: it says which shard's journal holds which sensor"
        )


class DesiredState:
    """What should be. Reads are from memory.

    Args:
        connection: To NATS.
        changed: Called after every change of any of it, but for `leader`.
        may_write: Whether this control plane may write, asked before each write.

    Attributes:
        sensors: By id.
        hosts: By id.
        endpoints: By sensor: where its VM was last known to serve. It is there
            before any worker is told of the sensor, and goes with the sensor.
        leases: By shard.
        policy: How windows are made.
        rule_store: The rules, and writing them.
        leader: Which replica leads, and the revision that says so; None: none.
    """

    def __init__(
        self,
        connection: Connection,
        changed: Callable[[], None],
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self.sensors: dict[str, Sensor] = {}
        self.hosts: dict[str, HostRecord] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.leases: dict[int, Lease] = {}
        self.policy = WindowPolicy()
        self.leader: tuple[int, LeaderRecord] | None = None
        self._on_change = changed
        self._may_write = may_write
        self._on_leader: list[Callable[[], None]] = []
        self._changed_sensors: set[str] = set()
        self._changed_leases: set[int] = set()
        self._sensors = Bucket(connection, SENSORS_BUCKET, self._sensors_changed, may_write)
        self._hosts = Bucket(connection, HOSTS_BUCKET, self._hosts_changed, may_write)
        self.rule_store = RuleStore(connection, changed, may_write)
        self._settings = Bucket(connection, SETTINGS_BUCKET, self._settings_changed, may_write)

    @property
    def rules(self) -> Mapping[str, Rule]:
        """By id."""
        return self.rule_store.rules

    def on_leader(self, listener: Callable[[], None]) -> None:
        """Have `listener` called each time that the leader's key changed."""
        self._on_leader.append(listener)

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[list[asyncio.Task[None]]]:
        """Load everything, wait for it as long as it takes, and follow it within the context.

        The tasks that follow it do not end by themselves: one that does has found a defect.
        """
        buckets = (self._sensors, self._hosts, self._settings, self.rule_store.bucket)
        tasks = [asyncio.create_task(bucket.watch(), name="watch") for bucket in buckets]
        try:
            await asyncio.gather(*(bucket.wait_loaded() for bucket in buckets))
            yield tasks
        finally:
            await end(tasks)

    def check_shards(self, shards: int) -> None:
        """Raise ShardsChangedError if the installation has another number of shards than `shards`."""
        entry = self._settings.get(SHARDS_KEY)
        installed = shards if entry is None else int(_value(entry))
        if installed != shards:
            raise ShardsChangedError(installed, shards)

    async def install(self, shards: int, hosts: Iterable[HostConfig]) -> None:
        """Write what the configuration says, as long as that takes.

        Raises ShardsChangedError, and StoreUnavailableError if this control plane may write no more.
        """
        while True:
            try:
                if self._settings.get(SHARDS_KEY) is None:
                    await self._settings.create(SHARDS_KEY, str(shards).encode())
                self.check_shards(shards)
                for host in hosts:
                    record = HostRecord(kind=host.kind, url=host.url)
                    if self.hosts.get(host.id) != record:
                        await self._hosts.put(host.id, record.encode())
            except (ConflictError, StoreUnavailableError) as error:
                if not self._may_write():
                    raise
                log.warning("store_awaited", reason=str(error))
                await asyncio.sleep(_START_RETRY_S)
            else:
                return

    # --- sensors ----------------------------------------------------------------------------
    async def add_sensor(self, spec: SensorSpec, now_unix_ns: int) -> Sensor:
        """Store a sensor. Raises SensorExistsError, UnknownHostError, StoreUnavailableError."""
        if spec.host not in self.hosts:
            raise UnknownHostError(spec.host, self.hosts)
        known = self.sensors.get(spec.id)
        if known is not None:
            raise SensorExistsError(spec.id, removing=known.record.removing)
        record = SensorRecord(spec=spec, created_unix_ns=now_unix_ns)
        try:
            revision = await self._sensors.create(spec.id, record.encode())
        except ConflictError as error:
            raise SensorExistsError(spec.id) from error
        return Sensor.of(record, revision)

    async def mark_removing(self, sensor_id: str) -> Sensor:
        """Begin the removal of a sensor, for good; nothing to do if it has begun.

        Raises UnknownSensorError, StoreUnavailableError.
        """
        for _ in range(_MAX_CONFLICTS):
            known = self.sensors.get(sensor_id)
            if known is None:
                raise UnknownSensorError(sensor_id)
            if known.record.removing:
                return known
            record = known.record.model_copy(update={"removing": True})
            try:
                revision = await self._sensors.update(sensor_id, record.encode(), known.revision)
            except ConflictError:
                await asyncio.sleep(_START_RETRY_S)  # the watch is about to say what it is now
                continue
            return Sensor.of(record, revision)
        raise StoreUnavailableError(f"sensor {sensor_id} is being changed by somebody else all the time")

    async def forget_sensor(self, sensor_id: str) -> None:
        """Delete a sensor and its endpoint. Raises ConflictError, StoreUnavailableError."""
        known = self.sensors.get(sensor_id)
        if known is None:
            return
        endpoint = self._settings.get(ENDPOINT_PREFIX + sensor_id)
        if endpoint is not None:
            await self._settings.delete(ENDPOINT_PREFIX + sensor_id, endpoint.revision)
        await self._sensors.delete(sensor_id, known.revision)

    # --- settings ---------------------------------------------------------------------------
    async def put_endpoint(self, sensor_id: str, endpoint: Endpoint) -> None:
        """Note where a sensor's VM serves. Raises ConflictError, StoreUnavailableError."""
        await self._settings.put(ENDPOINT_PREFIX + sensor_id, endpoint.model_dump_json().encode())

    async def claim_lease(self, shard: int, owner: str, generation: int, last: int) -> None:
        """Give a shard to `owner`, if its lease is still at revision `last` (0: there is none).

        Raises ConflictError, StoreUnavailableError.
        """
        value = LeaseRecord(owner=owner, generation=generation).encode()
        key = f"{LEASE_PREFIX}{shard}"
        await (self._settings.update(key, value, last) if last else self._settings.create(key, value))

    def take_changes(self) -> tuple[set[str], set[int]]:
        """Return the sensors (record or endpoint) and the leases that changed since it was last asked."""
        sensors, leases = self._changed_sensors, self._changed_leases
        self._changed_sensors, self._changed_leases = set(), set()
        return sensors, leases

    # --- what the buckets say ---------------------------------------------------------------
    def _sensors_changed(self, keys: set[str]) -> None:
        self._changed_sensors |= keys
        for key in keys:
            entry = self._sensors.get(key)
            if entry is None:
                self.sensors.pop(key, None)
                continue
            record = _read(SensorRecord, key, entry)
            if record is not None:
                self.sensors[key] = Sensor.of(record, entry.revision)
        self._on_change()

    def _hosts_changed(self, keys: set[str]) -> None:
        for key in keys:
            entry = self._hosts.get(key)
            record = None if entry is None else _read(HostRecord, key, entry)
            if record is not None:
                self.hosts[key] = record
            elif entry is None:
                self.hosts.pop(key, None)
        self._on_change()

    def _settings_changed(self, keys: set[str]) -> None:
        for key in keys:
            entry = self._settings.get(key)
            if key.startswith(ENDPOINT_PREFIX):
                sensor_id = key.removeprefix(ENDPOINT_PREFIX)
                self._changed_sensors.add(sensor_id)
                _keep(self.endpoints, sensor_id, _endpoint(key, entry))
            elif key.startswith(LEASE_PREFIX):
                self._lease_changed(key, entry)
            elif key == POLICY_KEY:
                record = None if entry is None else _read(PolicyRecord, key, entry)
                self.policy = WindowPolicy() if record is None else record.policy()
            elif key == LEADER_KEY:
                self._leader_changed(entry)
        if keys - {LEADER_KEY}:
            self._on_change()

    def _leader_changed(self, entry: Entry | None) -> None:
        self.leader = None
        if entry is not None:
            self.leader = entry.revision, _read(LeaderRecord, LEADER_KEY, entry) or UNKNOWN_LEADER
        for listener in self._on_leader:
            listener()

    def _lease_changed(self, key: str, entry: Entry | None) -> None:
        shard = key.removeprefix(LEASE_PREFIX)
        if not shard.isdecimal():
            return
        record = None if entry is None else _read(LeaseRecord, key, entry)
        lease = None
        if entry is not None and record is not None:
            lease = Lease(record.owner, record.generation, entry.revision)
        self._changed_leases.add(int(shard))
        _keep(self.leases, int(shard), lease)


def _keep(where: dict[K, V], key: K, value: V | None) -> None:
    """Set a key, or drop it if there is no value."""
    if value is None:
        where.pop(key, None)
    else:
        where[key] = value


def _endpoint(key: str, entry: Entry | None) -> Endpoint | None:
    return None if entry is None else _read(Endpoint, key, entry)


def _read(kind: type[M], key: str, entry: Entry) -> M | None:
    """Return the record of a key, None if it cannot be read: then it is said, and nothing follows from it."""
    try:
        return decode(kind, key, _value(entry))
    except RecordFormatError as error:
        log.warning("record_unreadable", reason=str(error))
        return None


def _value(entry: Entry) -> bytes:
    return entry.value or b""
