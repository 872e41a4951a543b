"""The gateway's routes: the follower says which host's cluster, the subset finds the VM."""

from __future__ import annotations

from functools import lru_cache

from envoy_data_plane.envoy.config.route.v3 import (
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)

from control_plane.resources.encoding import FOREVER
from control_plane.resources.model import Resource, new_resource
from wire.names import CLUSTER_HEADER, GATEWAY_ROUTES, LEASE_HEADER, ROUTE_TYPE, SENSOR_HEADER, STREAM_PATH


@lru_cache(1)
def routes_resource() -> Resource:
    """Return the routes, which do not depend on the fleet."""
    stream = Route(
        name="stream",
        match=RouteMatch(path=STREAM_PATH),
        route=RouteAction(cluster_header=CLUSTER_HEADER, timeout=FOREVER, idle_timeout=FOREVER),
    )
    host = VirtualHost(
        name="sensors",
        domains=["*"],
        routes=[stream],
        # What the follower tells Envoy is not the VM's business; the lease is a secret from it.
        request_headers_to_remove=[CLUSTER_HEADER, LEASE_HEADER, SENSOR_HEADER],
    )
    message = RouteConfiguration(name=GATEWAY_ROUTES, virtual_hosts=[host])
    return new_resource(ROUTE_TYPE, GATEWAY_ROUTES, bytes(message))
