"""The fleet as the API sees it (control_plane.api.ports.FleetPort)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from nats.aio.client import Client

from control_plane.changes import Changes
from control_plane.model import HostView, NodeView, SensorSpec, SensorView
from control_plane.observe.audit import audit_of_shards
from control_plane.observe.board import StatusBoard
from control_plane.observe.failures import LastFailures
from control_plane.observe.live_windows import LiveWindowsFeed
from control_plane.reconcile.engine import Engine
from control_plane.reconcile.verdict import Heard
from control_plane.reconcile.views import host_view, node_view, sensor_view
from control_plane.store.desired import DesiredState
from control_plane.store.records import Sensor
from control_plane.xds.cache import SnapshotCache
from wire.names import WORKER_ROLE
from wire.status import ShardAudit, SinkStatus


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

    def sensors(self) -> list[SensorView]:
        """See FleetPort."""
        if self._views[0] != self._changes.count:
            heard = self._heard()
            views = [self._view(sensor, heard) for _, sensor in sorted(self._desired.sensors.items())]
            self._views = self._changes.count, views
        return self._views[1]

    def sensor(self, sensor_id: str) -> SensorView | None:
        """See FleetPort."""
        sensor = self._desired.sensors.get(sensor_id)
        return None if sensor is None else self._view(sensor, self._heard())

    async def add_sensor(self, spec: SensorSpec) -> SensorView:
        """See FleetPort."""
        sensor = await self._desired.add_sensor(spec, time.time_ns())
        return self._view(sensor, self._heard())

    async def remove_sensor(self, sensor_id: str) -> SensorView:
        """See FleetPort."""
        sensor = await self._desired.mark_removing(sensor_id)
        return self._view(sensor, self._heard())

    def hosts(self) -> list[HostView]:
        """See FleetPort."""
        world = self._engine.world
        assert world is not None
        return [host_view(world, host_id, record) for host_id, record in sorted(self._desired.hosts.items())]

    def nodes(self) -> list[NodeView]:
        """See FleetPort."""
        heard = self._heard()
        return [
            node_view(node, heard.get(node.key.node_id) if node.key.role == WORKER_ROLE else None)
            for node in self._cache.nodes()
        ]

    def sinks(self) -> list[SinkStatus]:
        """See FleetPort."""
        return self._board.sinks(asyncio.get_running_loop().time())

    async def audit(self) -> list[ShardAudit]:
        """See FleetPort."""
        return await audit_of_shards(self._client, self._shards)

    def live_windows(self, sensor_ids: Sequence[str]) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """See FleetPort."""
        return self._feed.windows(sensor_ids)

    async def wait_change(self, after: int, timeout_s: float) -> int:
        """See FleetPort."""
        return await self._changes.wait(after, timeout_s)

    def _heard(self) -> dict[str, Heard]:
        return self._board.heard(asyncio.get_running_loop().time())

    def _view(self, sensor: Sensor, heard: dict[str, Heard]) -> SensorView:
        """Return a sensor's view, also of one that is newer than the last plan."""
        world, plan = self._engine.world, self._engine.plan
        assert world is not None
        assert plan is not None
        sensor_id = sensor.record.spec.id
        if world.sensors.get(sensor_id) is not sensor:
            world = replace(world, sensors={sensor_id: sensor})
        return sensor_view(world, plan, sensor_id, heard)
