"""A control plane for bench.xds, in a process of its own so that its CPU and memory are its own.

    python -m bench.support.control_plane [SHARDS]

The engine of `control_plane.reconcile.Reconciler`, stepped as that does it: at
each event, so several times for a sensor that is added. Lines of JSON: on stdin
the fleet (`Stored`), then questions `[method, argument]`; on stdout the port,
then answers. It ends when stdin does.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
import time
from dataclasses import replace
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry

from control_plane.memory import settle
from control_plane.reconcile.engine import Engine
from control_plane.reconcile.metrics import ReconcileMetrics
from control_plane.reconcile.reconciler import MAX_PACE_S
from control_plane.reconcile.world import HostState
from control_plane.resources.worker import WORKER_TYPES, WindowPolicy
from control_plane.rule_model import Rule
from control_plane.store.records import Lease, Sensor, SensorRecord, decode
from control_plane.xds.cache import SnapshotCache
from control_plane.xds.node import NodeKey
from control_plane.xds.server import AdsServer
from hyperv.model import Endpoint, VmState
from wire.names import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    ENVOY_ROLE,
    LISTENER_TYPE,
    ROUTE_TYPE,
    SENSOR_TYPE,
    WORKER_ROLE,
)

ENVOY_TYPES: Final = (CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE)
NODE: Final = "node-1"  # the machine of the Envoy and the worker
Stored = dict[str, tuple[str, str]]  # by sensor: its record and its endpoint, as they are written down


class ControlPlane:
    """A fleet in memory, planned and published; it is its own desired state (engine.Desired)."""

    def __init__(self, stored: Stored, shards: int = 1) -> None:
        self.sensors: dict[str, Sensor] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.leases = {shard: Lease(NODE, 1, 1) for shard in range(shards)}
        self.policy = WindowPolicy()
        self.rules: dict[str, Rule] = {}
        self.cache = SnapshotCache()
        self._changed: set[str] = set()
        self._hosts: dict[str, HostState] = {}
        parts = importlib.import_module("control_plane.resources.envoy").PARTS
        metrics = ReconcileMetrics(CollectorRegistry())
        self._engine = Engine(self, self.cache, parts, metrics, shards=shards)
        self._began, self._step_s, self._step_cpu_s, self._steps = 0.0, 0.0, 0.0, 0
        vms: dict[str, dict[str, VmState]] = {}
        for sensor_id, (record, endpoint) in stored.items():
            vm = self._want(sensor_id, record, endpoint)
            self.endpoints[sensor_id] = Endpoint.model_validate_json(endpoint)
            vms.setdefault(self._host(sensor_id), {})[sensor_id] = vm
        self._hosts = {host: HostState(reachable=True, vms=each) for host, each in vms.items()}
        self._step()

    def take_changes(self) -> tuple[set[str], set[int]]:
        """See engine.Desired."""
        changed, self._changed = self._changed, set()
        return changed, set()

    async def reconcile(self) -> None:
        """Step whenever something is known of a node, half of a core at most, until cancelled."""
        seen = self.cache.changes
        while True:
            seen = await self.cache.wait_change(seen)
            await asyncio.sleep(min(self._step(), MAX_PACE_S))

    async def connected(self, count: int) -> float:
        """Wait until that many nodes are there and have all they need; return when (monotonic s)."""
        seen = self.cache.changes
        while len(self.cache.connections()) < count:
            seen = await self.cache.wait_change(seen)
        self._step()
        await self._acked(
            {
                (key, type_url): 1
                for key in self._nodes()
                for type_url in (ENVOY_TYPES if key.role == ENVOY_ROLE else WORKER_TYPES)
            }
        )
        return time.monotonic()

    async def changed(self, added: Stored) -> dict[str, Any]:
        """Add sensors, each once every node has acknowledged the one before. Return lists, one item a sensor.

        `began_s` (monotonic) is when the sensor was asked for, `ack_ms` how long it took
        until the last Envoy had acknowledged it, `live_ms` until the worker had, too.
        `cpu_s` is the CPU time of the process in all, `step_cpu_s` that of `steps`
        steps: planning, snapshots and what they publish; the rest is gRPC and the sessions.
        """
        began_s, ack_ms, live_ms = [], [], []
        self._step_cpu_s, self._steps = 0.0, 0
        cpu_began = time.process_time()
        for sensor_id, (record, endpoint) in added.items():
            envoys = [key for key in self._nodes() if key.role == ENVOY_ROLE]
            now = {(key, ENDPOINT_TYPE): self.cache.acked_revision(key, ENDPOINT_TYPE) for key in envoys}
            began_s.append(time.monotonic())
            self._add(sensor_id, record, endpoint)
            await self._acked({each: revision + 1 for each, revision in now.items()})
            ack_ms.append((time.monotonic() - began_s[-1]) * 1e3)
            await self._held(sensor_id)
            live_ms.append((time.monotonic() - began_s[-1]) * 1e3)
        cpu_s = time.process_time() - cpu_began
        lists = {"began_s": began_s, "ack_ms": ack_ms, "live_ms": live_ms}
        return {**lists, "cpu_s": cpu_s, "step_cpu_s": self._step_cpu_s, "steps": self._steps}

    def _add(self, sensor_id: str, record: str, endpoint: str) -> None:
        """Ask for a sensor; its VM runs at once, and its endpoint is written down: a step for each."""
        vm = self._want(sensor_id, record, endpoint)
        self._step()
        host = self._host(sensor_id)
        self._hosts[host] = replace(self._hosts[host], vms={**self._hosts[host].vms, sensor_id: vm})
        self._step()
        assert self._engine.plan is not None
        self.endpoints[sensor_id] = self._engine.plan.learnt[sensor_id]
        self._changed.add(sensor_id)
        self._step()

    def _want(self, sensor_id: str, record: str, endpoint: str) -> VmState:
        """Note that a sensor is wanted; return the state of its VM."""
        sensor = Sensor.of(decode(SensorRecord, sensor_id, record.encode()), 1)
        self.sensors[sensor_id] = sensor
        self._changed.add(sensor_id)
        return VmState(
            vm_id=sensor_id,
            sensor_id=sensor_id,
            spec_hash=sensor.vm_hash,
            state="running",
            endpoint=Endpoint.model_validate_json(endpoint),
        )

    def _host(self, sensor_id: str) -> str:
        return self.sensors[sensor_id].record.spec.host

    def _step(self) -> float:
        """Plan and publish; return the seconds that it took."""
        began, cpu_began = time.monotonic(), time.thread_time()
        self._engine.look(self._hosts)
        self._engine.step(frozenset({NODE}))
        self._steps += 1
        self._step_cpu_s += time.thread_time() - cpu_began
        return time.monotonic() - began

    def _nodes(self) -> list[NodeKey]:
        return [connection.node.key for connection in self.cache.connections()]

    async def _held(self, sensor_id: str) -> None:
        """Wait until the worker has acknowledged a sensor."""
        seen = self.cache.changes
        while not self._acknowledged(sensor_id):
            seen = await self.cache.wait_change(seen)

    def _acknowledged(self, sensor_id: str) -> bool:
        node = self.cache.node(NodeKey(WORKER_ROLE, NODE))
        return node is not None and sensor_id in node.types[SENSOR_TYPE].acked

    async def _acked(self, due: dict[tuple[NodeKey, str], int]) -> None:
        """Wait until each node has acknowledged this revision, or a later one, of each type."""
        seen = self.cache.changes
        while due:
            (key, type_url), revision = next(iter(due.items()))
            if self.cache.acked_revision(key, type_url) >= revision:
                del due[key, type_url]
            else:
                seen = await self.cache.wait_change(seen)


async def serve() -> None:
    """Serve until stdin ends."""
    shards = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    plane = ControlPlane(json.loads(sys.stdin.readline()), shards)
    settle()
    server = AdsServer(plane.cache)
    print(json.dumps(await server.start("127.0.0.1", 0)), flush=True)
    reconciling = asyncio.create_task(plane.reconcile())
    while line := await asyncio.to_thread(sys.stdin.readline):
        method, argument = json.loads(line)
        answer = await (plane.connected if method == "connected" else plane.changed)(argument)
        print(json.dumps(answer), flush=True)
    reconciling.cancel()
    await server.stop()


if __name__ == "__main__":
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    asyncio.run(serve())
