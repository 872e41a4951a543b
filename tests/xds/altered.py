"""Envoy's resources, altered: as another version, or so that Envoy refuses them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterLbPolicy
from envoy_data_plane.envoy.config.listener.v3 import Listener

from control_plane.resources.cluster import host_cluster_resource
from control_plane.resources.model import Resource, new_resource
from wire.names import CLUSTER_TYPE, LISTENER_TYPE


def slower_cluster(host: str, connect_s: float) -> Resource:
    """Return a host's cluster with another connect timeout: Envoy warms it anew."""
    return _cluster(host, connect_timeout=timedelta(seconds=connect_s))


def refused_cluster(host: str) -> Resource:
    """Return a host's cluster that Envoy refuses when it builds it, and it alone."""
    return _cluster(host, lb_policy=ClusterLbPolicy.CLUSTER_PROVIDED)


def malformed_cluster(host: str) -> Resource:
    """Return a host's cluster that Envoy refuses when it reads it, with the whole response."""
    return slower_cluster(host, 0)


def refused_listener(name: str) -> Resource:
    """Return a listener without an address."""
    return new_resource(LISTENER_TYPE, name, bytes(Listener(name=name)))


def _cluster(host: str, **fields: Any) -> Resource:
    made = host_cluster_resource(host)
    message = Cluster.parse(made.body)
    for name, value in fields.items():
        setattr(message, name, value)
    return new_resource(CLUSTER_TYPE, made.name, bytes(message), made.references)
