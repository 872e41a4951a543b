"""A fleet in memory that behaves as control_plane.fleet does, without NATS, hosts or workers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from control_plane.model import (
    AuditUnavailableError,
    HostView,
    SensorExistsError,
    SensorSpec,
    SensorStatus,
    SensorView,
    StoreUnavailableError,
    UnknownHostError,
    UnknownSensorError,
    VmView,
)
from control_plane.node_model import (
    CarrierView,
    FailureView,
    NodeDetail,
    NodeSummary,
    NodeView,
    RejectionView,
    ResourceState,
    ResourceView,
    Role,
    SensorDetail,
    TypeView,
    WorkerView,
)
from control_plane.rule_model import (
    EventsUnavailableError,
    RuleConflictError,
    RuleSpec,
    RuleView,
    UnknownRuleError,
)
from hyperv.model import Endpoint
from wire.ids import shard_of
from wire.status import (
    LiveWindow,
    LiveWindows,
    SensorAudit,
    ShardAudit,
    SinkStatus,
    StreamStatus,
)

SHARDS = 2
CREATED = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
NOW_NS = 1_769_860_800_000_000_000
LIVE_QUEUE = 64


class MemoryFleet:
    """FleetPort and RulesPort in memory. `store_down` and `away` make it fail as the real one does.

    A write sets `writing` once it is in, and is answered once `may_write` is set.
    """

    def __init__(self, hosts: Iterable[str] = ("lab",)) -> None:
        self.known_hosts = tuple(hosts)
        self.views: dict[str, SensorDetail] = {}
        self.known_rules: dict[str, RuleView] = {}
        self.journalled: list[dict[str, Any]] = []  # events
        self.version = 1
        self.revision = 0
        self.store_down = False
        self.away: tuple[int, ...] = ()  # shards whose worker does not answer
        self.subscribers: dict[asyncio.Queue[bytes], frozenset[str]] = {}
        self.writing, self.may_write = asyncio.Event(), asyncio.Event()
        self.may_write.set()
        self._changed = asyncio.Condition()

    # --- FleetPort ---
    async def sensors(self) -> Sequence[SensorView]:
        """See FleetPort."""
        return list(self.views.values())

    def sensor(self, sensor_id: str) -> SensorDetail | None:
        """See FleetPort."""
        return self.views.get(sensor_id)

    async def add_sensor(self, spec: SensorSpec) -> SensorDetail:
        """See FleetPort."""
        self._check_store()
        if spec.host not in self.known_hosts:
            raise UnknownHostError(spec.host, self.known_hosts)
        if spec.id in self.views:
            raise SensorExistsError(spec.id, removing=self.views[spec.id].status == "removing")
        self.revision += 1
        view = SensorDetail(
            **spec.model_dump(),
            created_at=CREATED,
            revision=self.revision,
            shard=shard_of(spec.id, SHARDS),
            status="pending",
            message="its VM is being created",
            endpoint=None,
            vm=None,
            stream=None,
            node=None,
            carried_by=[],
            last_failure=None,
        )
        await self.put(view)
        await self._answer_write()
        return view

    async def remove_sensor(self, sensor_id: str) -> SensorDetail:
        """See FleetPort."""
        self._check_store()
        view = self.views.get(sensor_id)
        if view is None:
            raise UnknownSensorError(sensor_id)
        if view.status != "removing":
            self.revision += 1
            removing = {"status": "removing", "message": "its stream is ended", "revision": self.revision}
            view = view.model_copy(update=removing)
            await self.put(view)
            await self._answer_write()
        return view

    # --- RulesPort ---
    def rules(self) -> Sequence[RuleView]:
        """See RulesPort."""
        return [view for _, view in sorted(self.known_rules.items())]

    def rule(self, rule_id: str) -> RuleView | None:
        """See RulesPort."""
        return self.known_rules.get(rule_id)

    async def put_rule(self, spec: RuleSpec, last: int | None) -> RuleView:
        """See RulesPort."""
        self._check_store()
        known = self.known_rules.get(spec.id)
        if last is not None and last != (known.revision if known else 0):
            raise RuleConflictError(spec.id, known.revision if known else 0)
        if known is None or RuleSpec(**known.model_dump(exclude={"revision"})) != spec:
            self.revision += 1
            self.known_rules[spec.id] = RuleView(**dict(spec), revision=self.revision)
        return self.known_rules[spec.id]

    async def remove_rule(self, rule_id: str, last: int | None) -> RuleView:
        """See RulesPort."""
        self._check_store()
        if rule_id not in self.known_rules:
            raise UnknownRuleError(rule_id)
        if last not in {None, self.known_rules[rule_id].revision}:
            raise RuleConflictError(rule_id, self.known_rules[rule_id].revision)
        return self.known_rules.pop(rule_id)

    async def events(self, since_unix_ns: int) -> Sequence[dict[str, Any]]:
        """See RulesPort."""
        if self.store_down:
            raise EventsUnavailableError("no connection to NATS")
        return self.journalled if since_unix_ns < 1 << 62 else []

    async def _answer_write(self) -> None:
        self.writing.set()
        await self.may_write.wait()

    def hosts(self) -> Sequence[HostView]:
        """See FleetPort."""
        return [
            HostView(
                id=host,
                kind="lab",
                url="http://127.0.0.1:1",
                status="up",
                message="",
                vms=len(self.views),
                sensors=len(self.views),
            )
            for host in self.known_hosts
        ]

    def nodes(self) -> Sequence[NodeView]:
        """See FleetPort."""
        return [_node("worker"), _node("envoy")]

    def node_summaries(self) -> Sequence[NodeSummary]:
        """See FleetPort."""
        names = NodeSummary.model_fields.keys()
        return [NodeSummary(**node.model_dump(include=set(names))) for node in self.nodes()]

    def node(self, role: Role, node_id: str) -> NodeDetail | None:
        """See FleetPort."""
        resources = [_resource("host.a", "live"), _resource("host.b", "rejected")]
        node = _node(role)
        return NodeDetail(**dict(node), resources=resources) if node_id == node.id else None

    def sinks(self) -> Sequence[SinkStatus]:
        """See FleetPort."""
        return [
            SinkStatus(
                sink="warehouse",
                pid=8,
                now_unix_ns=NOW_NS,
                state="running",
                rows_delivered=100,
                lag_rows=3,
                lag_s=0.5,
            )
        ]

    async def audit(self) -> Sequence[ShardAudit]:
        """See FleetPort."""
        if self.away:
            raise AuditUnavailableError(self.away)
        return [
            ShardAudit(
                shard=shard,
                generation=1,
                through=9,
                sensors=[_audited(view.id) for view in self.views.values() if view.shard == shard],
            )
            for shard in range(SHARDS)
        ]

    @contextlib.asynccontextmanager
    async def live_windows(self, sensor_ids: Sequence[str]) -> AsyncIterator[AsyncIterator[bytes]]:
        """See FleetPort."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(LIVE_QUEUE)
        self.subscribers[queue] = frozenset(sensor_ids)
        try:
            yield _drain(queue)
        finally:
            del self.subscribers[queue]

    async def wait_change(self, after: int, timeout_s: float) -> int:
        """See FleetPort."""
        async with self._changed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait_for(lambda: self.version > after)
            return self.version

    # --- what the rest of the world does ---
    async def put(self, view: SensorDetail) -> None:
        """Have the sensor be as `view` says, and say so."""
        self.views[view.id] = view
        await self.touch()

    async def drop(self, sensor_id: str) -> None:
        """Have the sensor be gone."""
        del self.views[sensor_id]
        await self.touch()

    async def touch(self) -> None:
        """Say that something changed."""
        self.version += 1
        async with self._changed:
            self._changed.notify_all()

    async def go_live(self, sensor_id: str, rate: float = 4.0) -> None:
        """Have the sensor's stream be live."""
        view = self.views[sensor_id]
        endpoint = Endpoint(address="127.20.0.1", port=9000)
        await self.put(
            view.model_copy(
                update={
                    "status": "live",
                    "message": "readings arrive",
                    "endpoint": endpoint,
                    "vm": VmView(vm_id="vm-1", state="running", incarnation="1", message=None),
                    "stream": stream_status(sensor_id, endpoint, rate),
                    "node": "node-1",
                    "carried_by": [_carrier(endpoint)],
                    "last_failure": FAILURE,
                }
            )
        )

    async def set_status(self, sensor_id: str, status: SensorStatus, message: str) -> None:
        """Have the sensor's status be another."""
        await self.put(self.views[sensor_id].model_copy(update={"status": status, "message": message}))

    def publish(self, message: LiveWindows) -> None:
        """Send windows to whoever follows their sensor."""
        for queue, sensor_ids in self.subscribers.items():
            if message.sensor_id in sensor_ids:
                if queue.full():
                    queue.get_nowait()
                queue.put_nowait(message.model_dump_json().encode())

    def _check_store(self) -> None:
        if self.store_down:
            raise StoreUnavailableError("no connection to NATS")


REJECTION = RejectionView(version="00000000000000b2", error="no address", by="node", since=CREATED)
FAILURE = FailureView(
    at=CREATED,
    node="node-1",
    reason="the connection to its VM failed: Connection refused",
    flags=("UF",),
    details="upstream_reset_before_response_started",
    transport_failure="Connection refused",
    cluster="host.lab",
    upstream="127.20.0.1:9000",
    status=503,
    lasted_s=0.5,
)


def _node(role: Role) -> NodeView:
    of_clusters = TypeView(
        variant="delta",
        state="rejected",
        since=CREATED,
        wanted=2,
        sent=2,
        acked=1,
        sent_version="c2",
        acked_version="c1",
        rejected={"host.b": REJECTION},
    )
    worker = WorkerView(
        node_id="node-1",
        pid=7,
        now_unix_ns=NOW_NS,
        state="running",
        message=None,
        shards=[0, 1],
        readings_per_s=12.5,
    )
    return NodeView(
        id="node-1",
        role=role,
        connected_since=CREATED,
        status="up",
        message="",
        problems=[],
        types={"Cluster": of_clusters},
        worker=worker if role == "worker" else None,
    )


def _resource(name: str, state: ResourceState) -> ResourceView:
    version = "00000000000000a1" if state == "live" else REJECTION.version
    return ResourceView(
        type="Cluster",
        name=name,
        state=state,
        since=CREATED,
        wanted=version,
        sent=version,
        acked=version if state == "live" else None,
        rejected=None if state == "live" else REJECTION,
    )


def _carrier(endpoint: Endpoint) -> CarrierView:
    return CarrierView(
        id="node-1",
        role="envoy",
        connected_since=CREATED,
        state="live",
        endpoint=endpoint.version,
        resources=[_resource("host.lab", "live")],
        stream=None,
    )


async def _drain(queue: asyncio.Queue[bytes]) -> AsyncIterator[bytes]:
    while True:
        yield await queue.get()


def stream_status(sensor_id: str, endpoint: Endpoint, rate: float) -> StreamStatus:
    """Return the status of a stream that delivers `rate` readings a second."""
    return StreamStatus(
        sensor_id=sensor_id,
        state="live",
        since_unix_ns=NOW_NS,
        endpoint_version=endpoint.version,
        epoch="00000000000000ab",
        accepted_seq=1200,
        committed_seq=1196,
        readings_per_s=rate,
        last_reading_unix_ns=NOW_NS,
    )


def live_window(metric: str, start_unix_ns: int, mean: float, size_ms: int = 1000) -> LiveWindow:
    """Return a window of four readings around `mean`."""
    return LiveWindow(
        metric=metric,
        unit="Cel",
        size_ms=size_ms,
        start_unix_ns=start_unix_ns,
        revision=1,
        count=4,
        min=mean - 1,
        max=mean + 1,
        sum=4 * mean,
        mean=mean,
        stddev=0.8,
        first=mean - 1,
        last=mean + 0.5,
        p50=mean,
        p95=mean + 1,
        p99=mean + 1,
    )


def _audited(sensor_id: str) -> SensorAudit:
    return SensorAudit(
        sensor_id=sensor_id,
        received=10,
        aggregated=6,
        duplicate=1,
        quarantined=1,
        too_late=1,
        excluded=1,
        undecodable_frames=0,
        gaps=0,
        gap_readings=0,
    )
