"""An Envoy's snapshot: a cluster and its endpoints for each host, one listener, one set of routes.

envoy-data-plane takes nearly a second to import; only what builds Envoy's
resources should import this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from control_plane.resources.cluster import host_cluster_resource
from control_plane.resources.endpoints import load_assignment_resource
from control_plane.resources.listener import listener_resource
from control_plane.resources.model import InconsistentSnapshotError, Resource, Snapshot, new_snapshot
from control_plane.resources.routes import routes_resource
from hyperv.model import Endpoint
from wire.names import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE

ENVOY_TYPES: Final = (CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE)


def envoy_snapshot(
    hosts: Iterable[str], endpoints: Mapping[str, Mapping[str, Endpoint]], gateway_port: int
) -> Snapshot:
    """Return everything that one Envoy should run.

    Resources are built once for their inputs: a change of one sensor builds its
    endpoint and joins its host's assignment, nothing else.

    Args:
        hosts: Every known host. One without endpoints has its cluster too, empty.
        endpoints: `{host: {sensor: endpoint}}`.
        gateway_port: The listener's port on 127.0.0.1; 0: chosen by the system.

    Raises:
        InconsistentSnapshotError: An endpoint of an unknown host; a sensor on
            two hosts; two sensors of a host at one address.
    """
    known = sorted(set(hosts))
    _check(known, endpoints)
    resources: list[Resource] = [listener_resource(gateway_port), routes_resource()]
    for host in known:
        resources.append(host_cluster_resource(host))
        placed = endpoints.get(host, {})
        key = tuple(sorted((sensor, each.address, each.port) for sensor, each in placed.items()))
        resources.append(load_assignment_resource(host, key))
    return new_snapshot(resources, ENVOY_TYPES)


def _check(hosts: list[str], endpoints: Mapping[str, Mapping[str, Endpoint]]) -> None:
    """Refuse what Envoy would take without a word and serve wrongly."""
    known = set(hosts)
    problems = [f"host {host} has endpoints but is not known" for host in endpoints if host not in known]
    host_of: dict[str, str] = {}
    for host, placed in endpoints.items():
        sensor_at: dict[tuple[str, int], str] = {}
        for sensor, endpoint in placed.items():
            other = host_of.setdefault(sensor, host)
            if other != host:
                problems.append(f"sensor {sensor} is on host {other} and on host {host}")
            first = sensor_at.setdefault((endpoint.address, endpoint.port), sensor)
            if first != sensor:
                problems.append(f"sensors {first} and {sensor} of host {host} are both at {endpoint.version}")
    if problems:
        raise InconsistentSnapshotError(problems)
