"""A control plane for bench.xds, in a process of its own so that its CPU and memory are its own.

    python -m bench.support.control_plane

It does what `control_plane.reconcile.Reconciler` does in a step, and serves
what follows. Lines of JSON: on stdin the fleet (`Stored`), then questions
`[method, argument]`; on stdout the port, then answers. It ends when stdin does.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
import time
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry

from control_plane.reconcile.metrics import ReconcileMetrics
from control_plane.reconcile.plan import make_plan
from control_plane.reconcile.publisher import Publisher
from control_plane.reconcile.world import HostState, Memory, WorkerState, World
from control_plane.resources.worker import WindowPolicy
from control_plane.store.records import Lease, Sensor, SensorRecord, decode
from control_plane.xds.cache import SnapshotCache
from control_plane.xds.node import NodeKey
from control_plane.xds.server import AdsServer
from hyperv.model import Endpoint, VmState
from wire.names import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE

NODE: Final = "node-1"  # the machine of the Envoy, and of a worker that runs nothing yet
Stored = dict[str, tuple[str, str]]  # by sensor: its record and its endpoint, as they are written down


class ControlPlane:
    """A fleet in memory, planned and published."""

    def __init__(self, stored: Stored) -> None:
        build = importlib.import_module("control_plane.resources.envoy").envoy_snapshot
        self.cache = SnapshotCache()
        self._publisher = Publisher(self.cache, build, ReconcileMetrics(CollectorRegistry()))
        self._sensors: dict[str, Sensor] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._vms: dict[str, dict[str, VmState]] = {}
        self._memory = Memory()
        for sensor_id, (record, endpoint) in stored.items():
            self._want(sensor_id, record, endpoint)
        self._step()

    async def connected(self, count: int) -> float:
        """Give that many Envoys all they need; return when (monotonic s) the last had acknowledged it."""
        seen = self.cache.changes
        while len(self.cache.connections()) < count:
            seen = await self.cache.wait_change(seen)
        self._step()
        types = (CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE)
        await self._acked({(key, type_url): 1 for key in self._nodes() for type_url in types})
        return time.monotonic()

    async def changed(self, added: Stored) -> dict[str, Any]:
        """Add sensors, each once every node has acknowledged the one before. Return lists, one item a sensor.

        `began_s` (monotonic) is when the sensor was there, `ack_ms` how long its
        ACK took, `plan_ms` what planning took of that. `cpu_s` is the CPU time of
        the process in all, `plan_cpu_s` that of planning.
        """
        began_s, ack_ms, plan_ms, plan_cpu_s = [], [], [], 0.0
        cpu_began = time.process_time()
        for sensor_id, (record, endpoint) in added.items():
            now = {
                (key, ENDPOINT_TYPE): self.cache.acked_revision(key, ENDPOINT_TYPE) for key in self._nodes()
            }
            began_s.append(time.monotonic())
            self._want(sensor_id, record, endpoint)
            planned_s, planned_cpu_s = self._step()
            plan_ms.append(planned_s * 1e3)
            plan_cpu_s += planned_cpu_s
            await self._acked({each: revision + 1 for each, revision in now.items()})
            ack_ms.append((time.monotonic() - began_s[-1]) * 1e3)
        cpu_s = time.process_time() - cpu_began
        lists = {"began_s": began_s, "ack_ms": ack_ms, "plan_ms": plan_ms}
        return {**lists, "cpu_s": cpu_s, "plan_cpu_s": plan_cpu_s}

    def _want(self, sensor_id: str, record: str, encoded: str) -> None:
        sensor = Sensor.of(decode(SensorRecord, sensor_id, record.encode()), 1)
        endpoint = Endpoint.model_validate_json(encoded)
        self._sensors[sensor_id], self._endpoints[sensor_id] = sensor, endpoint
        self._vms.setdefault(sensor.record.spec.host, {})[sensor_id] = VmState(
            vm_id=sensor_id,
            sensor_id=sensor_id,
            spec_hash=sensor.vm_hash,
            state="running",
            endpoint=endpoint,
        )

    def _step(self) -> tuple[float, float]:
        """Plan and publish; return the seconds that went before publishing, and the CPU seconds."""
        began, cpu_began = time.monotonic(), time.thread_time()
        world = World(
            shards=1,
            sensors=dict(self._sensors),
            endpoints=dict(self._endpoints),
            leases={0: Lease(NODE, 1, 1)},
            policy=WindowPolicy(),
            hosts={host: HostState(reachable=True, vms=vms) for host, vms in self._vms.items()},
            envoys={
                node.key.node_id: self._publisher.envoy(node, self._vms)
                for node in self.cache.nodes()
                if node.connected_since_unix_ns is not None
            },
            workers={NODE: WorkerState(connected=True, asked=True)},
            recent=frozenset({NODE}),
        )
        plan = make_plan(world, self._memory)
        took = time.monotonic() - began, time.thread_time() - cpu_began
        self._memory = plan.memory
        self._publisher.publish(plan, world.envoys)
        return took

    def _nodes(self) -> list[NodeKey]:
        return [connection.node.key for connection in self.cache.connections()]

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
    plane = ControlPlane(json.loads(sys.stdin.readline()))
    server = AdsServer(plane.cache)
    print(json.dumps(await server.start("127.0.0.1", 0)), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        method, argument = json.loads(line)
        answer = await (plane.connected if method == "connected" else plane.changed)(argument)
        print(json.dumps(answer), flush=True)
    await server.stop()


if __name__ == "__main__":
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    asyncio.run(serve())
