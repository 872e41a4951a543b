"""What follows from the picture: what every node runs, what every host does, what is written down. Pure.

`Planner` looks again only at what may have changed. `make_plan` looks at
everything, and by the same rules: it says what a plan is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from control_plane.reconcile.leases import LeaseClaim, due_claims, shard_holders
from control_plane.reconcile.placement import Places, assigned_to, learnt_endpoint
from control_plane.reconcile.removal import drained_sensors, released_sensors, removable_records
from control_plane.reconcile.roster import Changed, Roster
from control_plane.reconcile.wishes import HostWish, Wishes
from control_plane.reconcile.world import Assigned, Memory, World
from control_plane.resources.worker import SensorAssignment, ShardLease, WindowPolicy
from control_plane.rule_model import Rule
from control_plane.store.records import Lease
from hyperv.model import Endpoint


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """What one worker should run; assignments are by sensor, rules by id."""

    assignments: Mapping[str, SensorAssignment]
    leases: tuple[ShardLease, ...]
    policy: WindowPolicy
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """What a plan changed.

    Attributes:
        hosts: Those whose endpoints differ, came or went.
        assigned: By worker, the sensors whose assignment to it differs.
        wishes: Hosts whose wish differs.
    """

    hosts: frozenset[str]
    assigned: Mapping[str, frozenset[str]]
    wishes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """What should happen now. Its mappings are the planner's own: valid until it plans again.

    Attributes:
        endpoints: What every Envoy runs: `{host: {sensor: endpoint}}`.
        left_out: Sensors without an endpoint there, and which other one has it.
        workers: By node id; without those that have not asked yet.
        wishes: By host.
        claims: Leases to write.
        learnt: Endpoints to write down, by sensor.
        forget: Sensors to delete for good.
        memory: For the next plan.
        difference: From the plan before.
    """

    endpoints: Mapping[str, Mapping[str, Endpoint]]
    left_out: Mapping[str, str]
    workers: Mapping[str, WorkerPlan]
    wishes: Mapping[str, HostWish]
    claims: tuple[LeaseClaim, ...]
    learnt: Mapping[str, Endpoint]
    forget: tuple[str, ...]
    memory: Memory
    difference: Difference


def make_plan(world: World, memory: Memory) -> Plan:
    """Return what follows from `world`, and from what the plan before handed on.

    Nothing here depends on the order in which things became known, and a plan
    of the same picture and its own memory is the same plan.
    """
    return Planner(memory).plan(world, Changed(everything=True))


class Planner:
    """Plans one after the other, each from what changed since the one before.

    After the first, a plan costs what changed, not what there is; only shards,
    hosts, nodes and sensors on their way out are all looked at each time.
    """

    def __init__(self, memory: Memory | None = None) -> None:
        memory = memory or Memory()
        self._roster = Roster()
        self._places = Places()
        self._assigned: dict[str, Assigned] = dict(memory.assigned)
        self._of_worker: defaultdict[str, dict[str, SensorAssignment]] = defaultdict(dict)
        for sensor_id, each in self._assigned.items():
            self._of_worker[each.worker][sensor_id] = each.assignment
        self._released, self._drained = memory.released, memory.drained
        self._holders: Mapping[int, Lease] = memory.holders
        self._learnt: dict[str, Endpoint] = {}
        self._wishes = Wishes()

    def plan(self, world: World, changed: Changed) -> Plan:
        """Return what follows from `world`, which differs from the last one in `changed` at most."""
        holders = shard_holders(world.leases, world.workers, self._holders)
        changed.shards |= {
            shard
            for shard in holders.keys() | self._holders
            if holders.get(shard) != self._holders.get(shard)
        }
        self._holders = holders
        came_or_went = self._places.keep_hosts(world.hosts)
        sensors = self._roster.concerned(world, changed, came_or_went)
        if changed.everything:
            sensors |= self._assigned.keys()  # which the store may not have any more
        released = released_sensors(world, self._roster.leaving, self._released)
        drained = drained_sensors(world, released, self._drained)
        sensors |= (released ^ self._released) | (drained ^ self._drained)
        self._released, self._drained = released, drained
        moved, hosts = self._places.update(world, sensors, released)
        sensors |= moved
        assigned = self._assign(world, sensors)
        self._learn(world, sensors)
        wishes = self._wishes.update(world, sensors, drained)
        return Plan(
            endpoints=self._places.endpoints,
            left_out=self._places.left_out,
            workers=self._workers(world),
            wishes=self._wishes.of_host,
            claims=self._claims(world),
            learnt=self._learnt,
            forget=removable_records(world, drained),
            memory=Memory(self._assigned, released, drained, holders),
            difference=Difference(
                hosts=frozenset(hosts) | came_or_went,
                assigned=assigned,
                wishes=wishes,
            ),
        )

    def _assign(self, world: World, sensors: Iterable[str]) -> dict[str, frozenset[str]]:
        """Assign sensors anew; return, by worker, those whose assignment differs."""
        changed: defaultdict[str, set[str]] = defaultdict(set)
        for sensor_id in sensors:
            known = self._assigned.get(sensor_id)
            endpoint = self._places.endpoint(sensor_id)
            now = assigned_to(world, self._holders, sensor_id, endpoint, known)
            if now is known:
                continue
            if known is not None:
                del self._assigned[sensor_id], self._of_worker[known.worker][sensor_id]
                changed[known.worker].add(sensor_id)
            if now is not None:
                self._assigned[sensor_id] = now
                self._of_worker[now.worker][sensor_id] = now.assignment
                changed[now.worker].add(sensor_id)
        return {worker: frozenset(names) for worker, names in changed.items()}

    def _learn(self, world: World, sensors: Iterable[str]) -> None:
        for sensor_id in sensors:
            endpoint = learnt_endpoint(world, sensor_id)
            if endpoint is None:
                self._learnt.pop(sensor_id, None)
            else:
                self._learnt[sensor_id] = endpoint

    def _workers(self, world: World) -> dict[str, WorkerPlan]:
        """Return what each worker runs, once it has said what it runs: what we forget it must not lose."""
        leases: defaultdict[str, list[ShardLease]] = defaultdict(list)
        for shard, lease in sorted(world.leases.items()):
            if shard >= world.shards:
                continue
            leases[lease.owner].append(ShardLease(shard, lease.generation))
            holder = self._holders.get(shard, lease)
            if holder.owner != lease.owner:
                leases[holder.owner].append(ShardLease(shard, holder.generation))
        rules = tuple(rule for _, rule in sorted(world.rules.items()))
        return {
            node_id: WorkerPlan(self._of_worker[node_id], tuple(leases[node_id]), world.policy, rules)
            for node_id, worker in world.workers.items()
            if worker.asked
        }

    def _claims(self, world: World) -> tuple[LeaseClaim, ...]:
        connected = [node_id for node_id, worker in world.workers.items() if worker.connected]
        return due_claims(
            world.shards,
            world.leases,
            connected,
            world.recent,
            holders=self._holders,
            steady=world.steady,
        )
