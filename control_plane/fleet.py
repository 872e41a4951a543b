"""The fleet as the API sees it (control_plane.api.ports: FleetPort, RulesPort)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final

from nats.aio.client import Client

from control_plane.changes import Changes
from control_plane.model import HostView, SensorSpec, SensorView
from control_plane.node_model import NodeDetail, NodeSummary, NodeView, Role, SensorDetail
from control_plane.observe.access_log import Failure
from control_plane.observe.audit import audit_of_shards
from control_plane.observe.board import StatusBoard
from control_plane.observe.events import Event, events_of_shards
from control_plane.observe.failures import LastFailures
from control_plane.observe.live_windows import LiveWindowsFeed
from control_plane.reconcile.carriers import carriers, failure_view
from control_plane.reconcile.engine import Engine
from control_plane.reconcile.node_views import ROLES, KnownNode, node_detail, node_summary, node_view
from control_plane.reconcile.publisher import ENVOYS
from control_plane.reconcile.verdict import Heard
from control_plane.reconcile.views import host_view, sensor_view
from control_plane.rule_model import Rule, RuleSpec, RuleView
from control_plane.store.desired import DesiredState
from control_plane.store.records import Sensor
from control_plane.xds.cache import NodeStatus, SnapshotCache
from control_plane.xds.node import NodeKey
from wire.names import WORKER_ROLE
from wire.status import ShardAudit, SinkStatus

AT_A_TIME: Final = 200  # views that are made before others have their turn, some 5 ms


class Fleet:
    """Reads from memory, writes to the desired state. For after the reconciler's first step."""

    def __init__(
        self,
        *,
        desired: DesiredState,
        engine: Engine,
        cache: SnapshotCache,
        board: StatusBoard,
        failures: LastFailures,
        feed: LiveWindowsFeed,
        client: Client,
        changes: Changes,
        shards: int,
    ) -> None:
        self._desired = desired
        self._engine = engine
        self._cache = cache
        self._board = board
        self._failures = failures
        self._feed = feed
        self._client = client
        self._changes = changes
        self._shards = shards
        self._views: tuple[int, list[SensorView]] = (0, [])
        self._viewing = asyncio.Lock()

    async def sensors(self) -> list[SensorView]:
        """See FleetPort. What goes to the nodes is not held up by a large fleet: others have their turn."""
        async with self._viewing:
            if self._views[0] != self._changes.count:
                self._views = self._changes.count, await self._sensor_views()
            return self._views[1]

    async def _sensor_views(self) -> list[SensorView]:
        heard, sensors = self._heard(), self._desired.sensors
        views: list[SensorView] = []
        names = sorted(sensors)
        for begin in range(0, len(names), AT_A_TIME):
            if begin:
                await asyncio.sleep(0)
            there = [sensors[name] for name in names[begin : begin + AT_A_TIME] if name in sensors]
            views += [self._view(sensor, heard) for sensor in there]
        return views

    def sensor(self, sensor_id: str) -> SensorDetail | None:
        """See FleetPort."""
        sensor = self._desired.sensors.get(sensor_id)
        return None if sensor is None else self._detail(sensor)

    async def add_sensor(self, spec: SensorSpec) -> SensorDetail:
        """See FleetPort."""
        return self._detail(await self._desired.add_sensor(spec, time.time_ns()))

    async def remove_sensor(self, sensor_id: str) -> SensorDetail:
        """See FleetPort."""
        return self._detail(await self._desired.mark_removing(sensor_id))

    def hosts(self) -> list[HostView]:
        """See FleetPort."""
        world = self._engine.world
        assert world is not None
        return [host_view(world, host_id, record) for host_id, record in sorted(self._desired.hosts.items())]

    def nodes(self) -> list[NodeView]:
        """See FleetPort."""
        return [node_view(node) for node in self._known_nodes(self._heard())]

    def node_summaries(self) -> list[NodeSummary]:
        """See FleetPort."""
        return [node_summary(node) for node in self._known_nodes(self._heard())]

    def node(self, role: Role, node_id: str) -> NodeDetail | None:
        """See FleetPort."""
        status = self._cache.node(NodeKey(ROLES[role], node_id))
        return None if status is None else node_detail(self._known(status, self._heard()))

    def sinks(self) -> list[SinkStatus]:
        """See FleetPort."""
        return self._board.sinks(asyncio.get_running_loop().time())

    async def audit(self) -> list[ShardAudit]:
        """See FleetPort."""
        return await audit_of_shards(self._client, self._shards)

    def rules(self) -> list[RuleView]:
        """See RulesPort."""
        return [_rule_view(rule) for _, rule in sorted(self._desired.rules.items())]

    def rule(self, rule_id: str) -> RuleView | None:
        """See RulesPort."""
        rule = self._desired.rules.get(rule_id)
        return None if rule is None else _rule_view(rule)

    async def put_rule(self, spec: RuleSpec, last: int | None) -> RuleView:
        """See RulesPort."""
        return _rule_view(await self._desired.rule_store.put(spec, last))

    async def remove_rule(self, rule_id: str, last: int | None) -> RuleView:
        """See RulesPort."""
        return _rule_view(await self._desired.rule_store.remove(rule_id, last))

    async def events(self, since_unix_ns: int) -> list[Event]:
        """See RulesPort."""
        return await events_of_shards(self._client, self._shards, since_unix_ns)

    def live_windows(self, sensor_ids: Sequence[str]) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """See FleetPort."""
        return self._feed.windows(sensor_ids)

    async def wait_change(self, after: int, timeout_s: float) -> int:
        """See FleetPort."""
        return await self._changes.wait(after, timeout_s)

    def _heard(self) -> dict[str, Heard]:
        now_s = asyncio.get_running_loop().time()
        return self._board.heard(now_s, audible=bool(self._client.is_connected))

    def _known_nodes(self, heard: Mapping[str, Heard]) -> Iterator[KnownNode]:
        for status in self._cache.nodes():
            yield self._known(status, heard)

    def _known(self, status: NodeStatus, heard: Mapping[str, Heard]) -> KnownNode:
        key, engine = status.key, self._engine
        snapshot, problems = self._cache.published(key), engine.problems.get(key, ())
        if key.role == WORKER_ROLE:
            return KnownNode(status, snapshot, heard.get(key.node_id), problems)
        problems += engine.problems.get(ENVOYS, ())
        return KnownNode(status, snapshot, None, problems, engine.held(key))

    def _detail(self, sensor: Sensor) -> SensorDetail:
        """Return a sensor with what carries it."""
        heard = self._heard()
        view = self._view(sensor, heard)
        failure = self._failure(sensor)
        world = self._engine.world
        assert world is not None
        return SensorDetail(
            **dict(view),
            carried_by=list(carriers(view.id, view.host, view.shard, self._known_nodes(heard), world.envoys)),
            last_failure=None if failure is None else failure_view(failure),
        )

    def _view(self, sensor: Sensor, heard: dict[str, Heard]) -> SensorView:
        """Return a sensor's view, also of one that is newer than the last plan."""
        world, plan = self._engine.world, self._engine.plan
        assert world is not None
        assert plan is not None
        sensor_id = sensor.record.spec.id
        if world.sensors.get(sensor_id) is not sensor:
            world = replace(world, sensors={sensor_id: sensor})
        return sensor_view(world, plan, sensor_id, heard, self._failure(sensor))

    def _failure(self, sensor: Sensor) -> Failure | None:
        return self._failures.of(sensor.record.spec.id, sensor.record.created_unix_ns)


def _rule_view(rule: Rule) -> RuleView:
    return RuleView(**dict(rule.spec), revision=rule.revision)
