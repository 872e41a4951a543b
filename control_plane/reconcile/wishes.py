"""What each host should have. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from control_plane.reconcile.world import World
from control_plane.store.records import Sensor


@dataclass(frozen=True, slots=True)
class HostWish:
    """What one host should have: VMs as specified, and none of those to remove."""

    ensure: Mapping[str, Sensor] = field(default_factory=dict)
    remove: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a host should do about one sensor; a sensor of None: have no VM of it."""

    host: str
    sensor: Sensor | None


class Wishes:
    """The wish of each host, kept as sensors change.

    Attributes:
        of_host: With every host that there is. A wish is replaced, never changed.
    """

    def __init__(self) -> None:
        self.of_host: dict[str, HostWish] = {}
        self._wish_of: dict[str, _Wish] = {}

    def update(self, world: World, sensors: Iterable[str], drained: Collection[str]) -> frozenset[str]:
        """Look at sensors again, `drained` are those whose VM may go; return the hosts whose wish differs.

        The sensors of a host that came or went must be among them.
        """
        came_or_went = self.of_host.keys() ^ world.hosts.keys()
        changes: dict[str, dict[str, Sensor | None]] = {host: {} for host in came_or_went}
        removals: dict[str, set[str]] = {}
        for sensor_id in sensors:
            old, new = self._wish_of.get(sensor_id), _wish(world, sensor_id, drained)
            if old is not None and new is not None and old.host == new.host and old.sensor is new.sensor:
                continue
            if old is not None:
                del self._wish_of[sensor_id]
                changes.setdefault(old.host, {})[sensor_id] = None
            if new is not None:
                self._wish_of[sensor_id] = new
                changes.setdefault(new.host, {})[sensor_id] = new.sensor
                if new.sensor is None:
                    removals.setdefault(new.host, set()).add(sensor_id)
        for host in came_or_went - world.hosts.keys():
            del self.of_host[host]
        for host in changes.keys() & world.hosts.keys():
            self._change(host, changes[host], removals.get(host, set()))
        return frozenset(changes)

    def _change(self, host: str, changes: Mapping[str, Sensor | None], removals: Collection[str]) -> None:
        wish = self.of_host.get(host, HostWish())
        ensure = dict(wish.ensure)
        for sensor_id, sensor in changes.items():
            if sensor is None:
                ensure.pop(sensor_id, None)
            else:
                ensure[sensor_id] = sensor
        self.of_host[host] = HostWish(ensure, wish.remove.difference(changes).union(removals))


def _wish(world: World, sensor_id: str, drained: Collection[str]) -> _Wish | None:
    sensor = world.sensors.get(sensor_id)
    if sensor is None or sensor.record.spec.host not in world.hosts:
        return None
    if not sensor.record.removing:
        return _Wish(sensor.record.spec.host, sensor)
    return _Wish(sensor.record.spec.host, None) if sensor_id in drained else None
