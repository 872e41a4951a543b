"""Which sensors a change concerns. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from control_plane.reconcile.world import World
from wire.ids import shard_of


@dataclass(slots=True)
class Changed:
    """What may differ from the picture before.

    Attributes:
        everything: Anything.
        sensors: Sensors: their record, endpoint, VM, or what a node says of them.
        shards: Shards: their lease, or what a worker says of it.
        nodes: Nodes, by id: their streams. It concerns the shards that they own.
    """

    everything: bool = False
    sensors: set[str] = field(default_factory=set)
    shards: set[int] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)


class Roster:
    """The sensors of each host and shard.

    Attributes:
        leaving: Sensors on their way out.
    """

    def __init__(self) -> None:
        self.leaving: set[str] = set()
        self._place: dict[str, tuple[str, int]] = {}  # by sensor: host, shard
        self._of_host: defaultdict[str, set[str]] = defaultdict(set)
        self._of_shard: defaultdict[int, set[str]] = defaultdict(set)

    def concerned(self, world: World, changed: Changed, hosts: Iterable[str]) -> set[str]:
        """Return the sensors to be looked at again; those of `hosts`, which came or went, are among them."""
        sensors = set(changed.sensors)
        if changed.everything:
            sensors |= world.sensors.keys() | self._place.keys()
        for sensor_id in sensors:
            self._enter(world, sensor_id)
        if changed.everything:
            return sensors
        for host in hosts:
            sensors |= self._of_host.get(host, set())
        for shard in changed.shards | _owned(world, changed.nodes):
            sensors |= self._of_shard.get(shard, set())
        return sensors

    def _enter(self, world: World, sensor_id: str) -> None:
        sensor = world.sensors.get(sensor_id)
        place = None if sensor is None else (sensor.record.spec.host, shard_of(sensor_id, world.shards))
        old = self._place.get(sensor_id)
        if old is not None and old != place:
            del self._place[sensor_id]
            self._of_host[old[0]].discard(sensor_id)
            self._of_shard[old[1]].discard(sensor_id)
        if place is not None and old != place:
            self._place[sensor_id] = place
            self._of_host[place[0]].add(sensor_id)
            self._of_shard[place[1]].add(sensor_id)
        if sensor is not None and sensor.record.removing:
            self.leaving.add(sensor_id)
        else:
            self.leaving.discard(sensor_id)


def _owned(world: World, nodes: Collection[str]) -> set[int]:
    return {shard for shard, lease in world.leases.items() if lease.owner in nodes} if nodes else set()
