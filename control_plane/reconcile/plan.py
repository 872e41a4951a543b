"""What follows from the picture: what every node runs, what every host does, what is written down. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from control_plane.reconcile.leases import LeaseClaim, due_claims
from control_plane.reconcile.placement import assignments, envoy_endpoints, learnt_endpoints
from control_plane.reconcile.removal import drained_sensors, released_sensors, removable_records
from control_plane.reconcile.world import Assigned, Memory, World
from control_plane.resources.worker import SensorAssignment, ShardLease, WindowPolicy
from control_plane.store.records import Sensor
from hyperv.model import Endpoint


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """What one worker should run."""

    assignments: tuple[SensorAssignment, ...]
    leases: tuple[ShardLease, ...]
    policy: WindowPolicy


@dataclass(frozen=True, slots=True)
class HostWish:
    """What one host should have: VMs as specified, and none of those to remove."""

    ensure: Mapping[str, Sensor] = field(default_factory=dict)
    remove: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """What should happen now.

    Attributes:
        endpoints: What every Envoy runs: `{host: {sensor: endpoint}}`.
        left_out: Sensors without an endpoint there, and which other one has it.
        workers: By node id; without those that have not asked yet.
        wishes: By host.
        claims: Leases to write.
        learnt: Endpoints to write down, by sensor.
        forget: Sensors to delete for good.
        memory: For the next plan.
    """

    endpoints: Mapping[str, Mapping[str, Endpoint]]
    left_out: Mapping[str, str]
    workers: Mapping[str, WorkerPlan]
    wishes: Mapping[str, HostWish]
    claims: tuple[LeaseClaim, ...]
    learnt: Mapping[str, Endpoint]
    forget: tuple[str, ...]
    memory: Memory


def make_plan(world: World, memory: Memory) -> Plan:
    """Return what follows from `world`, and from what the plan before handed on.

    Nothing here depends on the order in which things became known, and a plan
    of the same picture and its own memory is the same plan.
    """
    released = released_sensors(world, memory)
    drained = drained_sensors(world, memory, released)
    endpoints, left_out = envoy_endpoints(world, released)
    told = assignments(world, endpoints, memory.assigned)
    connected = [node_id for node_id, worker in world.workers.items() if worker.connected]
    return Plan(
        endpoints=endpoints,
        left_out=left_out,
        workers=_workers(world, told),
        wishes=_wishes(world, drained),
        claims=due_claims(world.shards, world.leases, connected, world.recent),
        learnt=learnt_endpoints(world),
        forget=removable_records(world, drained),
        memory=Memory(told, released, drained),
    )


def _workers(world: World, told: Mapping[str, Assigned]) -> dict[str, WorkerPlan]:
    """Return what each worker runs, once it has said what it runs: what we forget it must not lose."""
    of_worker: defaultdict[str, list[SensorAssignment]] = defaultdict(list)
    for assigned in told.values():
        of_worker[assigned.worker].append(assigned.assignment)
    leases: defaultdict[str, list[ShardLease]] = defaultdict(list)
    for shard, lease in sorted(world.leases.items()):
        if shard < world.shards:
            leases[lease.owner].append(ShardLease(shard, lease.generation))
    return {
        node_id: WorkerPlan(
            tuple(sorted(of_worker[node_id], key=lambda each: each.sensor_id)),
            tuple(leases[node_id]),
            world.policy,
        )
        for node_id, worker in world.workers.items()
        if worker.asked
    }


def _wishes(world: World, drained: frozenset[str]) -> dict[str, HostWish]:
    ensure: dict[str, dict[str, Sensor]] = {host: {} for host in world.hosts}
    remove: dict[str, set[str]] = {host: set() for host in world.hosts}
    for sensor_id, sensor in world.sensors.items():
        host = sensor.record.spec.host
        if host not in ensure:
            continue
        if not sensor.record.removing:
            ensure[host][sensor_id] = sensor
        elif sensor_id in drained:
            remove[host].add(sensor_id)
    return {host: HostWish(ensure[host], frozenset(remove[host])) for host in world.hosts}
