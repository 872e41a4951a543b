"""A host's cluster: its VMs are the endpoints, each one a subset of its own."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterCommonLbConfig,
    ClusterDiscoveryType,
    ClusterEdsClusterConfig,
    ClusterLbSubsetConfig,
    ClusterLbSubsetConfigLbSubsetFallbackPolicy,
    ClusterLbSubsetConfigLbSubsetSelector,
    TrackClusterStats,
    UpstreamConnectionOptions,
)
from envoy_data_plane.envoy.config.core.v3 import Http1ProtocolOptions, HttpProtocolOptions, TcpKeepalive
from envoy_data_plane.envoy.extensions.upstreams.http import v3 as upstream_http
from envoy_data_plane.envoy.type.v3 import Percent

from control_plane.resources.encoding import over_ads, packed, seconds
from control_plane.resources.model import Resource, new_resource
from wire.gen.gaugeway.envoy.v1 import cluster_pb2
from wire.names import CLUSTER_TYPE, ENDPOINT_TYPE, SUBSET_METADATA_KEY, host_cluster

BREAKER: Final = 100_000  # Envoy's default of 1,024 fails a fleet that opens its streams at once
CONNECT_TIMEOUT: Final = seconds(10)
_UPSTREAM_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def host_cluster_resource(host_id: str) -> Resource:
    """Return the cluster of a host."""
    name = host_cluster(host_id)
    # Encoded messages add up when they are joined, so what all clusters share is encoded once.
    body = cluster_pb2.Cluster(name=name).SerializeToString() + _shared()
    return new_resource(CLUSTER_TYPE, name, body, references=((ENDPOINT_TYPE, name),))


@lru_cache(1)
def _shared() -> bytes:
    """Return what every host's cluster is, but for its name: encoding it takes envoy-data-plane 5 ms."""
    return bytes(_cluster())


def _cluster() -> Cluster:
    return Cluster(
        type=ClusterDiscoveryType.EDS,
        eds_cluster_config=ClusterEdsClusterConfig(eds_config=over_ads()),
        connect_timeout=CONNECT_TIMEOUT,
        lb_subset_config=ClusterLbSubsetConfig(
            fallback_policy=ClusterLbSubsetConfigLbSubsetFallbackPolicy.NO_FALLBACK,
            subset_selectors=[
                ClusterLbSubsetConfigLbSubsetSelector(keys=[SUBSET_METADATA_KEY], single_host_per_subset=True)
            ],
        ),
        # Every endpoint is another sensor: no share of them being away may send traffic to the rest.
        common_lb_config=ClusterCommonLbConfig(
            healthy_panic_threshold=Percent(value=0.0), update_merge_window=seconds(0)
        ),
        circuit_breakers=CircuitBreakers(
            thresholds=[
                CircuitBreakersThresholds(
                    max_connections=BREAKER,
                    max_pending_requests=BREAKER,
                    max_requests=BREAKER,
                    track_remaining=True,
                )
            ]
        ),
        typed_extension_protocol_options={_UPSTREAM_OPTIONS: packed(_http1())},
        upstream_connection_options=UpstreamConnectionOptions(
            tcp_keepalive=TcpKeepalive(keepalive_probes=3, keepalive_time=30, keepalive_interval=10)
        ),
        track_cluster_stats=TrackClusterStats(per_endpoint_stats=True),
        ignore_health_on_host_removal=True,
    )


def _http1() -> upstream_http.HttpProtocolOptions:
    """Return HTTP/1.1 to the agent; a connection that no stream uses is closed after a minute."""
    return upstream_http.HttpProtocolOptions(
        common_http_protocol_options=HttpProtocolOptions(idle_timeout=seconds(60)),
        explicit_http_config=upstream_http.HttpProtocolOptionsExplicitHttpConfig(
            http_protocol_options=Http1ProtocolOptions()
        ),
    )
