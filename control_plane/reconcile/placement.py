"""Which endpoints the Envoys get, and which sensors the workers get. Pure.

Make before break: a worker is told of a sensor, or of its new address, only
once the Envoy beside it is known to run the endpoint. Until then it keeps what it has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from control_plane.reconcile.world import Assigned, World
from control_plane.resources.worker import SensorAssignment, assignment_resource
from control_plane.store.records import Sensor
from hyperv.model import Endpoint
from wire.ids import shard_of
from wire.names import host_cluster


def learnt_endpoints(world: World) -> dict[str, Endpoint]:
    """Return what hosts say of endpoints that is not written down yet."""
    learnt = {}
    for sensor_id, sensor in world.sensors.items():
        endpoint = served_at(world, sensor_id, sensor)
        if endpoint is not None and not sensor.record.removing and endpoint != world.endpoints.get(sensor_id):
            learnt[sensor_id] = endpoint
    return learnt


def served_at(world: World, sensor_id: str, sensor: Sensor) -> Endpoint | None:
    """Return where the sensor's host says that its agent serves, None if it does not."""
    host = world.hosts.get(sensor.record.spec.host)
    vm = None if host is None else host.vms.get(sensor_id)
    return vm.endpoint if vm is not None and vm.state == "running" else None


def envoy_endpoints(
    world: World, released: Collection[str]
) -> tuple[dict[str, dict[str, Endpoint]], dict[str, str]]:
    """Return `{host: {sensor: endpoint}}` for every Envoy, and the sensors left out.

    Of two sensors at one address of a host Envoy would reach either: only one
    may have it, first whom the host now says to be there, then by name. The
    second result says of each sensor left out which other has its address.
    """
    endpoints: dict[str, dict[str, Endpoint]] = {host: {} for host in world.hosts}
    at: dict[tuple[str, Endpoint], str] = {}
    left_out: dict[str, str] = {}
    for _, sensor_id in sorted((not _confirmed(world, each), each) for each in world.endpoints):
        sensor = world.sensors.get(sensor_id)
        if sensor is None or sensor_id in released or sensor.record.spec.host not in endpoints:
            continue
        host, endpoint = sensor.record.spec.host, world.endpoints[sensor_id]
        other = at.setdefault((host, endpoint), sensor_id)
        if other == sensor_id:
            endpoints[host][sensor_id] = endpoint
        else:
            left_out[sensor_id] = other
    return endpoints, left_out


def _confirmed(world: World, sensor_id: str) -> bool:
    sensor = world.sensors.get(sensor_id)
    return sensor is not None and served_at(world, sensor_id, sensor) == world.endpoints[sensor_id]


def assignments(
    world: World,
    endpoints: Mapping[str, Mapping[str, Endpoint]],
    before: Mapping[str, Assigned],
) -> dict[str, Assigned]:
    """Return what each sensor's worker should be told.

    Args:
        world: The picture.
        endpoints: What the Envoys get.
        before: What the workers were last told.
    """
    told: dict[str, Assigned] = {}
    for sensor_id, sensor in world.sensors.items():
        lease = world.leases.get(shard_of(sensor_id, world.shards))
        if lease is None or sensor.record.removing:
            continue
        known = before.get(sensor_id)
        if known is not None and known.worker != lease.owner:
            known = None
        host = sensor.record.spec.host
        endpoint = endpoints.get(host, {}).get(sensor_id)
        if endpoint is not None:
            wanted = assignment_of(world, sensor_id, sensor, endpoint)
            if _may_be_told(world, lease.owner, host, wanted, endpoint):
                changed = known is None or known.assignment != wanted
                known = Assigned(lease.owner, wanted) if changed else known
        if known is not None:
            told[sensor_id] = known
    return told


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
