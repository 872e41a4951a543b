"""What is published when part of it breaks a rule."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from control_plane.reconcile.gate import Gate
from control_plane.reconcile.metrics import ReconcileMetrics
from control_plane.reconcile.plan import Difference, Plan
from control_plane.reconcile.publisher import ENVOYS, Publisher
from control_plane.reconcile.versions import EndpointVersions
from control_plane.reconcile.world import EnvoyState, Memory
from control_plane.resources.model import Snapshot
from control_plane.xds.cache import SnapshotCache
from control_plane.xds.node import NodeKey
from hyperv.model import Endpoint
from tests.control_plane.sim import JsonParts
from wire.names import ENDPOINT_TYPE, ENVOY_ROLE, host_cluster

HERE = Endpoint(address="127.20.0.1", port=7070)
THERE = Endpoint(address="127.20.0.2", port=7070)
ENVOY = {"node-1": EnvoyState(connected=True)}


def plan(endpoints: dict[str, dict[str, Endpoint]], *hosts: str) -> Plan:
    """Return a plan in which `hosts` differ."""
    return Plan(
        endpoints=endpoints,
        left_out={},
        workers={},
        wishes={},
        claims=(),
        learnt={},
        forget=(),
        memory=Memory(),
        difference=Difference(frozenset(hosts), {}, frozenset()),
    )


def published(cache: SnapshotCache) -> dict[str, bytes]:
    """Return what node-1's Envoy should run, by host's cluster."""
    snapshot = cache.published(NodeKey(ENVOY_ROLE, "node-1"))
    assert isinstance(snapshot, Snapshot)
    return {name: resource.body for name, resource in snapshot.of(ENDPOINT_TYPE).items()}


def test_one_host_that_breaks_a_rule_holds_up_no_other() -> None:
    """Its last good endpoints stay in force, and the reason is known until they are good again."""
    cache, metrics = SnapshotCache(), ReconcileMetrics(CollectorRegistry())
    publisher = Publisher(cache, JsonParts(), EndpointVersions(), metrics, Gate())
    publisher.publish(plan({"lab": {"a": HERE}, "plant": {"c": HERE}}, "lab", "plant"), ENVOY)
    first = published(cache)
    bad = {"lab": {"a": HERE, "b": HERE}, "plant": {"c": THERE}}
    publisher.publish(plan(bad, "lab", "plant"), ENVOY)
    now = published(cache)
    assert now[host_cluster("lab")] == first[host_cluster("lab")]
    assert THERE.version in now[host_cluster("plant")].decode()
    assert publisher.problems == {ENVOYS: ("sensors a and b of host lab are both at 127.20.0.1:7070",)}
    publisher.publish(plan({**bad, "mine": {}}, "mine"), ENVOY)
    assert set(published(cache)) == {host_cluster(host) for host in ("lab", "plant", "mine")}
    assert set(publisher.problems) == {ENVOYS}
    publisher.publish(plan({**bad, "lab": {"a": HERE, "b": THERE}}, "lab"), ENVOY)
    assert THERE.version in published(cache)[host_cluster("lab")].decode()
    assert publisher.problems == {}


def test_a_sensor_that_changes_hosts_is_published_whatever_came_first() -> None:
    """On neither host twice: beside one that breaks a rule the two are changed one after the other."""
    cache, metrics = SnapshotCache(), ReconcileMetrics(CollectorRegistry())
    publisher = Publisher(cache, JsonParts(), EndpointVersions(), metrics, Gate())
    publisher.publish(plan({"x": {"a": HERE}, "b": {}, "z": {}}, "b", "x", "z"), ENVOY)
    moved = {"x": {}, "b": {"a": HERE}, "z": {"c": HERE, "d": HERE}}
    publisher.publish(plan(moved, "b", "x", "z"), ENVOY)
    assert HERE.version in published(cache)[host_cluster("b")].decode()
    assert HERE.version not in published(cache)[host_cluster("x")].decode()
    assert publisher.problems == {ENVOYS: ("sensors c and d of host z are both at 127.20.0.1:7070",)}
