"""Resources that Envoy takes, and ones that it refuses."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType, ClusterEdsClusterConfig
from envoy_data_plane.envoy.config.core.v3 import Address, SocketAddress
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
)

from control_plane.resources.encoding import over_ads, packed
from control_plane.resources.model import Resource, new_resource
from wire.names import CLUSTER_TYPE, LISTENER_TYPE, ROUTE_TYPE


def cluster(name: str, timeout_s: float = 1) -> Resource:
    """Return an EDS cluster.

    A timeout of 0 breaks a rule of its field, and Envoy says where; of a
    negative one it does not say in which of many clusters it is.
    """
    message = Cluster(
        name=name,
        type=ClusterDiscoveryType.EDS,
        eds_cluster_config=ClusterEdsClusterConfig(eds_config=over_ads()),
        connect_timeout=timedelta(seconds=timeout_s),
    )
    return new_resource(CLUSTER_TYPE, name, bytes(message))


def listener_without_prefix(name: str) -> Resource:
    """Return a listener whose connection manager has no `stat_prefix`."""
    return listener(name, [Filter(name="http", typed_config=packed(HttpConnectionManager()))])


def listener(name: str, filters: list[Filter], address: str = "127.0.0.1") -> Resource:
    """Return a listener with some network filters."""
    where = Address(socket_address=SocketAddress(address=address, port_value=0))
    message = Listener(name=name, address=where, filter_chains=[FilterChain(filters=filters)])
    return new_resource(LISTENER_TYPE, name, bytes(message))


def routes(name: str, cluster: str = "nowhere", domains: tuple[str, ...] = ("*",)) -> Resource:
    """Return routes to a cluster, which need not be known."""
    route = Route(match=RouteMatch(prefix="/"), route=RouteAction(cluster=cluster))
    host = VirtualHost(name="all", domains=list(domains), routes=[route])
    return new_resource(ROUTE_TYPE, name, bytes(RouteConfiguration(name=name, virtual_hosts=[host])))
