"""Which endpoints the Envoys get, and which sensors the workers get. Pure.

Make before break: a worker is told of a sensor, or of its new address, only
once the Envoy beside it is known to run the endpoint. Until then it keeps what it has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from control_plane.reconcile.world import Assigned, World
from control_plane.resources.worker import SensorAssignment, assignment_resource
from control_plane.store.records import Lease, Sensor
from hyperv.model import Endpoint
from wire.ids import shard_of
from wire.names import host_cluster

_Claim = tuple[str, str, int]  # host, address, port
_State = tuple[str | None, Endpoint | None, str | None]  # host, endpoint, left out because of


def learnt_endpoint(world: World, sensor_id: str) -> Endpoint | None:
    """Return what a sensor's host says of its endpoint, if that is not written down yet."""
    sensor = world.sensors.get(sensor_id)
    if sensor is None or sensor.record.removing:
        return None
    endpoint = served_at(world, sensor_id, sensor)
    return None if endpoint == world.endpoints.get(sensor_id) else endpoint


def served_at(world: World, sensor_id: str, sensor: Sensor) -> Endpoint | None:
    """Return where the sensor's host says that its agent serves, None if it does not."""
    host = world.hosts.get(sensor.record.spec.host)
    vm = None if host is None else host.vms.get(sensor_id)
    return vm.endpoint if vm is not None and vm.state == "running" else None


class Places:
    """What every Envoy runs, kept as sensors change.

    Of two sensors at one address of a host Envoy would reach either: only one
    may have it, first whom the host now says to be there, then by name.

    Attributes:
        endpoints: `{host: {sensor: endpoint}}`, with every host that there is.
        left_out: Sensors that are not in there, and which other one has their address.
    """

    def __init__(self) -> None:
        self.endpoints: dict[str, dict[str, Endpoint]] = {}
        self.left_out: dict[str, str] = {}
        self._claim_of: dict[str, _Claim] = {}
        self._claimed_by: dict[_Claim, set[str]] = {}

    def keep_hosts(self, hosts: Collection[str]) -> frozenset[str]:
        """Have every host in `endpoints`, and no other; return those that came or went.

        The sensors of these must be looked at again by `update`.
        """
        changed = self.endpoints.keys() ^ hosts
        for host in changed:
            if host in hosts:
                self.endpoints[host] = {}
            else:
                del self.endpoints[host]
        return frozenset(changed)

    def update(
        self, world: World, sensors: Iterable[str], released: Collection[str]
    ) -> tuple[set[str], set[str]]:
        """Look at sensors again; return which sensors' places changed, and the hosts that are concerned."""
        before: dict[str, _State] = {}
        contested: set[_Claim] = set()
        for sensor_id in sensors:
            before[sensor_id] = self._state(sensor_id)
            contested.update(self._claim_again(sensor_id, _claim(world, sensor_id, released)))
        for claim in contested:
            self._award(world, claim, before)
        return self._differences(before)

    def endpoint(self, sensor_id: str) -> Endpoint | None:
        """Return what the Envoys get of a sensor, None if nothing."""
        return self._state(sensor_id)[1]

    def _state(self, sensor_id: str) -> _State:
        claim = self._claim_of.get(sensor_id)
        host = None if claim is None else claim[0]
        endpoint = None if host is None else self.endpoints.get(host, {}).get(sensor_id)
        return host, endpoint, self.left_out.get(sensor_id)

    def _claim_again(self, sensor_id: str, claim: _Claim | None) -> set[_Claim]:
        """Note what a sensor claims now; return the claims to be awarded again."""
        old = self._claim_of.pop(sensor_id, None)
        if old is not None and old != claim:
            claimants = self._claimed_by[old]
            claimants.discard(sensor_id)
            if not claimants:
                del self._claimed_by[old]
            self.endpoints.get(old[0], {}).pop(sensor_id, None)
            self.left_out.pop(sensor_id, None)
        if claim is not None:
            self._claim_of[sensor_id] = claim
            self._claimed_by.setdefault(claim, set()).add(sensor_id)
        return {each for each in (old, claim) if each is not None}

    def _award(self, world: World, claim: _Claim, before: dict[str, _State]) -> None:
        claimants = self._claimed_by.get(claim)
        if claimants is None:
            return
        placed = self.endpoints[claim[0]]
        first = min(claimants, key=lambda each: (not _confirmed(world, each), each))
        for sensor_id in claimants:
            if sensor_id not in before:
                before[sensor_id] = self._state(sensor_id)
            if sensor_id == first:
                placed[sensor_id] = world.endpoints[sensor_id]
                self.left_out.pop(sensor_id, None)
            else:
                placed.pop(sensor_id, None)
                self.left_out[sensor_id] = first

    def _differences(self, before: Mapping[str, _State]) -> tuple[set[str], set[str]]:
        sensors: set[str] = set()
        hosts: set[str] = set()
        for sensor_id, old in before.items():
            new = self._state(sensor_id)
            if new == old:
                continue
            sensors.add(sensor_id)
            if new[:2] != old[:2]:
                hosts.update(host for host in (old[0], new[0]) if host is not None)
        return sensors, hosts


def _claim(world: World, sensor_id: str, released: Collection[str]) -> _Claim | None:
    sensor, endpoint = world.sensors.get(sensor_id), world.endpoints.get(sensor_id)
    if sensor is None or endpoint is None or sensor_id in released:
        return None
    host = sensor.record.spec.host
    return (host, endpoint.address, endpoint.port) if host in world.hosts else None


def _confirmed(world: World, sensor_id: str) -> bool:
    sensor = world.sensors.get(sensor_id)
    return sensor is not None and served_at(world, sensor_id, sensor) == world.endpoints[sensor_id]


def assigned_to(
    world: World,
    holders: Mapping[int, Lease],
    sensor_id: str,
    endpoint: Endpoint | None,
    known: Assigned | None,
) -> Assigned | None:
    """Return what a sensor's worker should be told; None: no worker should have it.

    Args:
        world: The picture.
        holders: See control_plane.reconcile.leases.shard_holders.
        sensor_id: The sensor.
        endpoint: What the Envoys get of it.
        known: What a worker was last told of it.
    """
    sensor = world.sensors.get(sensor_id)
    shard = shard_of(sensor_id, world.shards)
    lease = holders.get(shard) or world.leases.get(shard)
    if sensor is None or lease is None or sensor.record.removing:
        return None
    if known is not None and known.worker != lease.owner:
        known = None
    if endpoint is None:
        return known
    wanted = assignment_of(world, sensor_id, sensor, endpoint)
    if known is not None and known.assignment == wanted:
        return known
    ready = _may_be_told(world, lease.owner, sensor.record.spec.host, wanted, endpoint)
    return Assigned(lease.owner, wanted) if ready else known


def assignment_of(world: World, sensor_id: str, sensor: Sensor, endpoint: Endpoint) -> SensorAssignment:
    """Return the assignment of a sensor that is served at `endpoint`."""
    spec = sensor.record.spec
    return SensorAssignment(
        sensor_id=sensor_id,
        site=spec.site,
        shard=shard_of(sensor_id, world.shards),
        cluster=host_cluster(spec.host),
        endpoint_version=endpoint.version,
        metrics=tuple((metric.name, metric.unit) for metric in spec.metrics),
    )


def _may_be_told(world: World, worker: str, host: str, wanted: SensorAssignment, endpoint: Endpoint) -> bool:
    """Whether the Envoy beside the worker is ready for it, or the worker runs it already."""
    if envoy_runs(world, worker, host, wanted.sensor_id, endpoint):
        return True
    state = world.workers.get(worker)  # after a restart of ours the worker may be back before its Envoy
    return state is not None and state.acked.get(wanted.sensor_id) == assignment_resource(wanted).version


def envoy_runs(world: World, node_id: str, host: str, sensor_id: str, endpoint: Endpoint) -> bool:
    """Whether the Envoy of a node is known to run a sensor's endpoint."""
    envoy = world.envoys.get(node_id)
    return envoy is not None and envoy.runs.get(host, {}).get(sensor_id) == endpoint
