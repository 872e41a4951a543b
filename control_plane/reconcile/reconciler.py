"""The loop: a picture of everything, the plan that follows from it, and its execution.

Whatever changes wakes it, and one step takes in all that changed. A step does
not await anything: nothing changes between the picture and what is published.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from control_plane.ending import end
from control_plane.reconcile.absence import Absences
from control_plane.reconcile.host_keeper import HostDriver, HostKeeper
from control_plane.reconcile.metrics import ReconcileMetrics
from control_plane.reconcile.plan import Plan, make_plan
from control_plane.reconcile.publisher import Publisher
from control_plane.reconcile.removal import leaving
from control_plane.reconcile.world import Memory, World
from control_plane.reconcile.writer import PlanWriter
from control_plane.store.desired import DesiredState
from control_plane.store.records import HostRecord
from control_plane.xds.cache import NodeStatus, SnapshotCache
from control_plane.xds.node import NodeKey
from wire.names import ENVOY_ROLE, WORKER_ROLE

log = structlog.get_logger(__name__)

FORGET_S: Final = 3600.0  # a node that is away for longer is gone, unless it owns a shard
TICK_S: Final = 1.0  # time passes also when nothing happens
MAX_PACE_S: Final = 0.05

NewDriver = Callable[[str, HostRecord], HostDriver]


class Reconciler:
    """Keeps every node and host at what follows from the desired state.

    Attributes:
        plan: The last plan; None before the first step.
        world: The picture that it was made from.
    """

    def __init__(
        self,
        desired: DesiredState,
        cache: SnapshotCache,
        publisher: Publisher,
        metrics: ReconcileMetrics,
        *,
        shards: int,
        new_driver: NewDriver,
        stepped: Callable[[], None],
        grace_s: float,
    ) -> None:
        self.plan: Plan | None = None
        self.world: World | None = None
        self._desired = desired
        self._cache = cache
        self._publisher = publisher
        self._metrics = metrics
        self._shards = shards
        self._new_driver = new_driver
        self._on_step = stepped
        self._grace_s = grace_s
        self._writer = PlanWriter(desired, self.wake, metrics)
        self._keepers: dict[str, tuple[HostRecord, HostKeeper, asyncio.Task[None]]] = {}
        self._memory = Memory()
        self._wake = asyncio.Event()
        self._began_s = asyncio.get_running_loop().time()
        self._absences = Absences()
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
            if self._wake.is_set() or self._somebody_is_away():
                return
            self._on_step()  # what was heard grows old

    def _somebody_is_away(self) -> bool:
        nodes = {node.key: node.connected_since_unix_ns is not None for node in self._cache.nodes()}
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
            self._keep_hosts()
            world = self._picture()
            plan = make_plan(world, self._memory)
            self._memory, self.world, self.plan = plan.memory, world, plan
            self._publisher.publish(plan, world.envoys)
            for host_id, (_, keeper, _) in self._keepers.items():
                keeper.wish(plan.wishes[host_id])
            self._writer.write(plan)
        self._on_step()

    def _picture(self) -> World:
        desired = self._desired
        now_s = asyncio.get_running_loop().time()
        nodes = self._nodes(now_s)
        hosts = {host_id: keeper.state for host_id, (_, keeper, _) in self._keepers.items()}
        out = leaving(desired.sensors)
        return World(
            shards=self._shards,
            sensors=dict(desired.sensors),
            endpoints=dict(desired.endpoints),
            leases=dict(desired.leases),
            policy=desired.policy,
            hosts=hosts,
            envoys={
                key.node_id: self._publisher.envoy(node, hosts)
                for key, node in nodes.items()
                if key.role == ENVOY_ROLE
            },
            workers={
                key.node_id: self._publisher.worker(node, out)
                for key, node in nodes.items()
                if key.role == WORKER_ROLE
            },
            recent=self._recent(nodes, now_s),
        )

    def _nodes(self, now_s: float) -> Mapping[NodeKey, NodeStatus]:
        """Return every node but those that are gone for good."""
        nodes = {node.key: node for node in self._cache.nodes()}
        connected = {key for key, node in nodes.items() if node.connected_since_unix_ns is not None}
        self._absences.look(nodes, connected, now_s)
        owners = {lease.owner for lease in self._desired.leases.values()}
        for key in list(nodes):
            if self._absences.away_s(key, now_s) > FORGET_S and key.node_id not in owners:
                log.info("node_forgotten", role=key.role, node=key.node_id)
                self._publisher.forget(key)
                del nodes[key]
        return nodes

    def _recent(self, nodes: Mapping[NodeKey, NodeStatus], now_s: float) -> frozenset[str]:
        """Return the workers that are connected or were a moment ago; at first every owner of a shard."""
        workers = [key for key in nodes if key.role == WORKER_ROLE]
        recent = {key.node_id for key in workers if self._absences.away_s(key, now_s) < self._grace_s}
        if now_s - self._began_s < self._grace_s:
            recent |= {lease.owner for lease in self._desired.leases.values()}
        return frozenset(recent)

    def _keep_hosts(self) -> None:
        """Have a keeper for each host, as it is written down."""
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

    def _keeper_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._crash = error
            self.wake()
