"""The pre-flight check says of a resource what a real Envoy says when it comes over ADS."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterLbPolicy,
    ClusterRingHashLbConfig,
    OutlierDetection,
)
from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
    HealthCheck,
    SubstitutionFormatString,
    TransportSocket,
)
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StdoutAccessLog
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager

from control_plane.resources.cluster import host_cluster_resource
from control_plane.resources.encoding import packed
from control_plane.resources.listener import listener_resource
from control_plane.resources.model import Resource, new_resource
from control_plane.resources.routes import routes_resource
from envoy_bootstrap.validate import Accepted, EnvoyValidator
from tests.xds.rig import rig
from tests.xds.support import Vm, wait_cache
from wire.names import CLUSTER_TYPE, LISTENER_TYPE, ROUTE_TYPE

ODD = "odd"


def cluster(**fields: object) -> Resource:
    """Return a host's cluster with other fields."""
    made = host_cluster_resource(ODD)
    message = Cluster.parse(made.body)
    for name, value in fields.items():
        setattr(message, name, value)
    return new_resource(CLUSTER_TYPE, made.name, bytes(message), made.references)


def subsets(keys: list[str]) -> Resource:
    """Return a host's cluster that tells its endpoints apart by other keys."""
    config = Cluster.parse(host_cluster_resource(ODD).body).lb_subset_config
    assert config is not None
    config.subset_selectors[0].keys = keys
    return cluster(lb_subset_config=config)


def listener(**fields: object) -> Resource:
    """Return a second gateway with other fields."""
    made = listener_resource(0)
    message = Listener.parse(made.body)
    message.name = ODD
    for name, value in fields.items():
        setattr(message, name, value)
    return new_resource(LISTENER_TYPE, ODD, bytes(message), made.references)


def manager(change: Callable[[HttpConnectionManager], object]) -> Resource:
    """Return a second gateway whose connection manager is another."""
    chains = Listener.parse(listener_resource(0).body).filter_chains
    encoded = chains[0].filters[0].typed_config
    assert encoded is not None
    message = HttpConnectionManager.parse(encoded.value)
    change(message)
    chains[0].filters[0].typed_config = packed(message)
    return listener(filter_chains=chains)


def log_format(text: str) -> AccessLog:
    """Return an access log in a format of its own."""
    config = SubstitutionFormatString(text_format_source=DataSource(inline_string=text))
    return AccessLog(name="log", typed_config=packed(StdoutAccessLog(log_format=config)))


def domains(*of_hosts: list[str]) -> Resource:
    """Return the gateway's routes with a virtual host for each list of domains."""
    made = routes_resource()
    message = RouteConfiguration.parse(made.body)
    hosts = [RouteConfiguration.parse(made.body).virtual_hosts[0] for _ in of_hosts]
    for number, each in enumerate(of_hosts):
        hosts[number].name, hosts[number].domains = f"host-{number}", each
    message.virtual_hosts = hosts
    return new_resource(ROUTE_TYPE, made.name, bytes(message))


CASES = {
    "a cluster": (cluster(), True),
    "no timeout": (cluster(connect_timeout=timedelta(0)), False),
    "negative timeout": (cluster(connect_timeout=timedelta(seconds=-1)), False),
    "policy beside subsets": (cluster(lb_policy=ClusterLbPolicy.CLUSTER_PROVIDED), False),
    "no source of endpoints": (cluster(eds_cluster_config=None), False),
    "outlier percentage": (cluster(outlier_detection=OutlierDetection(max_ejection_percent=200)), False),
    "empty health check": (cluster(health_checks=[HealthCheck()]), False),
    "unknown socket": (cluster(transport_socket=TransportSocket(name="nonsense")), False),
    "two subset keys": (subsets(["one", "two"]), True),  # which Envoy takes, whatever its documentation says
    "ring": (
        cluster(ring_hash_lb_config=ClusterRingHashLbConfig(), lb_policy=ClusterLbPolicy.RING_HASH),
        True,
    ),
    "a listener": (listener(), True),
    "no address": (listener(address=None), False),
    "no chains": (listener(filter_chains=[]), False),
    "two chains alike": (
        listener(filter_chains=[*Listener.parse(listener_resource(0).body).filter_chains] * 2),
        False,
    ),
    "no prefix": (manager(lambda message: setattr(message, "stat_prefix", "")), False),
    "router not last": (manager(lambda message: message.http_filters.reverse()), False),
    "no routes": (manager(lambda message: setattr(message, "rds", None)), False),
    "log format": (manager(lambda message: message.access_log.append(log_format("%NONSENSE%"))), False),
    "routes": (domains(["a"], ["b"]), True),
    "no domains": (domains([]), False),
    "domain twice": (domains(["a"], ["a"]), False),
}


@pytest.mark.parametrize("case", CASES)
async def test_both_say_the_same(tmp_path: Path, case: str) -> None:
    """Yes or no; they differ only in what is of a machine: its ports, its files."""
    odd, good = CASES[case]
    assert (await EnvoyValidator().validate([odd]) == Accepted()) == good
    fleet: dict[str, dict[str, Vm]] = {"lab": {}}
    if odd.type_url == CLUSTER_TYPE:
        fleet[ODD] = {}
    async with rig(tmp_path, "delta") as envoy:
        await envoy.settled({"lab": {}})
        envoy.publish(fleet, [odd])

        def answered() -> bool:
            status = envoy.control.status(odd.type_url)
            return odd.name in status.rejected or status.acked.get(odd.name) == odd.version

        await wait_cache(envoy.control.cache, f"{case} is answered", answered)
        assert (odd.name not in envoy.control.status(odd.type_url).rejected) == good
