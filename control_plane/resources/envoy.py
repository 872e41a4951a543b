"""Envoy's resources: a cluster and its endpoints for each host, one listener, one set of routes.

envoy-data-plane takes nearly a second to import; only what builds Envoy's
resources should import this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.resources.cluster import host_cluster_resource
from control_plane.resources.endpoints import load_assignment_resource
from control_plane.resources.gateway import EnvoyParts, EnvoySnapshots, Placed
from control_plane.resources.listener import listener_resource
from control_plane.resources.model import Resource, Snapshot
from control_plane.resources.routes import routes_resource


class _Parts:
    def cluster(self, host_id: str) -> Resource:
        return host_cluster_resource(host_id)

    def endpoints(self, host_id: str, placed: Placed) -> Resource:
        return load_assignment_resource(host_id, placed)

    def listener(self, gateway_port: int) -> Resource:
        return listener_resource(gateway_port)

    def routes(self) -> Resource:
        return routes_resource()


PARTS: Final[EnvoyParts] = _Parts()


def envoy_snapshot(endpoints: Mapping[str, Placed], gateway_port: int) -> Snapshot:
    """Return everything that one Envoy should run.

    Args:
        endpoints: `{host: {sensor: endpoint}}`, with every host that there is.
        gateway_port: The listener's port on 127.0.0.1; 0: chosen by the system.

    Raises:
        InconsistentSnapshotError: A sensor on two hosts; two sensors of a host at one address.
    """
    snapshots = EnvoySnapshots(PARTS)
    snapshots.change(endpoints)
    return snapshots.of_port(gateway_port)
