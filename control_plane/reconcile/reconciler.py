"""The loop: a picture of everything, the plan that follows from it, and its execution.

Whatever changes wakes it, and one step takes in all that changed. A step does
not await anything: nothing changes between the picture and what is published.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import structlog

from control_plane.ending import end
from control_plane.reconcile.engine import Engine
from control_plane.reconcile.host_keeper import HostDriver, HostKeeper
from control_plane.reconcile.metrics import ReconcileMetrics
from control_plane.reconcile.presence import Presence
from control_plane.reconcile.wishes import HostWish
from control_plane.reconcile.writer import PlanWriter
from control_plane.store.desired import DesiredState
from control_plane.store.records import HostRecord
from control_plane.xds.cache import SnapshotCache
from control_plane.xds.node import NodeKey
from wire.names import ENVOY_ROLE, WORKER_ROLE

log = structlog.get_logger(__name__)

TICK_S: Final = 1.0  # time passes also when nothing happens
MAX_PACE_S: Final = 0.05

NewDriver = Callable[[str, HostRecord], HostDriver]


class Reconciler:
    """Keeps every node and host at what follows from the desired state."""

    def __init__(
        self,
        desired: DesiredState,
        cache: SnapshotCache,
        engine: Engine,
        metrics: ReconcileMetrics,
        *,
        new_driver: NewDriver,
        stepped: Callable[[], None],
        grace_s: float,
        rebalance_after_s: float,
    ) -> None:
        self._desired = desired
        self._cache = cache
        self._engine = engine
        self._metrics = metrics
        self._new_driver = new_driver
        self._on_step = stepped
        self._grace_s = grace_s
        self._rebalance_after_s = rebalance_after_s
        self._writer = PlanWriter(desired, self.wake, metrics)
        self._keepers: dict[str, tuple[HostRecord, HostKeeper, asyncio.Task[None]]] = {}
        self._wake = asyncio.Event()
        self._began_s = asyncio.get_running_loop().time()
        self._presence = Presence()
        self._steady: frozenset[str] = frozenset()
        self._crash: BaseException | None = None

    def wake(self) -> None:
        """Have a step follow: something changed."""
        self._wake.set()

    async def run(self) -> None:
        """Reconcile until cancelled; raises what nothing here foresaw."""
        watching = asyncio.create_task(self._watch_nodes(), name="watch nodes")
        loop = asyncio.get_running_loop()
        try:
            while True:
                began = loop.time()
                self._wake.clear()
                self.step()
                await asyncio.sleep(min(loop.time() - began, MAX_PACE_S))  # half of a core at most
                await self._something_due(watching)
        finally:
            await self._stop(watching)

    async def _something_due(self, watching: asyncio.Task[None]) -> None:
        """Wait until something changed, or time alone may change the plan."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()
            if self._crash is not None:
                raise self._crash
            if watching.done():
                watching.result()
            if self._wake.is_set() or self._somebody_is_away() or self._steady != self._steady_now():
                return
            self._on_step()  # what was heard grows old

    def _somebody_is_away(self) -> bool:
        nodes = self._engine.nodes.keys()
        owners = {NodeKey(WORKER_ROLE, lease.owner) for lease in self._desired.leases.values()}
        return not all(nodes.values()) or not owners <= nodes.keys()

    async def _stop(self, watching: asyncio.Task[None]) -> None:
        await end([watching, *(task for _, _, task in self._keepers.values())])
        await self._writer.stop()

    async def _watch_nodes(self) -> None:
        seen = self._cache.changes
        while True:
            seen = await self._cache.wait_change(seen)
            self.wake()

    # --- one step ---------------------------------------------------------------------------
    def step(self) -> None:
        """Plan, publish, and begin what is to be done elsewhere. `run` does it by itself."""
        with self._metrics.step_seconds.time():
            came = self._keep_hosts()
            hosts = {host_id: keeper.state for host_id, (_, keeper, _) in self._keepers.items()}
            self._engine.look(hosts)
            now_s = asyncio.get_running_loop().time()
            recent, self._steady = self._recent(now_s), self._steady_now()
            plan = self._engine.step(recent, self._steady)
            for host_id in (came | plan.difference.wishes) & self._keepers.keys():
                self._keepers[host_id][1].wish(plan.wishes.get(host_id, HostWish()))
            self._writer.write(plan)
        if self._engine.due:
            self.wake()
        self._on_step()

    def _recent(self, now_s: float) -> frozenset[str]:
        """Return the workers that are connected or were a moment ago; at first every owner of a shard.

        Nodes that are gone for good, and own nothing, are forgotten.
        """
        nodes = self._engine.nodes.keys()
        self._presence.look(nodes, [key for key, connected in nodes.items() if connected], now_s)
        owners = {lease.owner for lease in self._desired.leases.values()}
        recent = set(owners) if now_s - self._began_s < self._grace_s else set()
        for key in self._presence.gone(owners, now_s):
            log.info("node_forgotten", role=key.role, node=key.node_id)
            self._engine.forget(key)
            del nodes[key]
        recent.update(
            key.node_id
            for key in nodes
            if key.role == WORKER_ROLE and self._presence.away_s(key, now_s) < self._grace_s
        )
        return frozenset(recent)

    def _steady_now(self) -> frozenset[str]:
        """Return the workers that have been connected for long, as have the Envoys beside them."""
        now_s = asyncio.get_running_loop().time()

        def long_here(role: str, node_id: str) -> bool:
            return self._presence.here_s(NodeKey(role, node_id), now_s) >= self._rebalance_after_s

        return frozenset(
            node_id
            for node_id in self._engine.nodes.workers
            if long_here(WORKER_ROLE, node_id) and long_here(ENVOY_ROLE, node_id)
        )

    def _keep_hosts(self) -> set[str]:
        """Have a keeper for each host, as it is written down; return the hosts whose keeper is new."""
        came: set[str] = set()
        for host_id, (record, _, task) in list(self._keepers.items()):
            if self._desired.hosts.get(host_id) != record:
                task.cancel()
                del self._keepers[host_id]
        for host_id, record in self._desired.hosts.items():
            if host_id not in self._keepers:
                keeper = HostKeeper(host_id, self._new_driver(host_id, record), self.wake, self._metrics)
                task = asyncio.create_task(keeper.run(), name=f"host {host_id}")
                task.add_done_callback(self._keeper_ended)
                self._keepers[host_id] = record, keeper, task
                came.add(host_id)
        return came

    def _keeper_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._crash = error
            self.wake()
