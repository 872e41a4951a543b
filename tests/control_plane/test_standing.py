"""Where nodes stand with resources, as the API shows it: states, types, nodes, what carries a sensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from control_plane.node_model import ResourceState
from control_plane.reconcile.carriers import carriers
from control_plane.reconcile.gate import Gate
from control_plane.reconcile.node_views import KnownNode, node_detail, node_summary, node_view
from control_plane.reconcile.preflight_memory import PASSED
from control_plane.reconcile.preflight_memory import Verdict as PreflightVerdict
from control_plane.reconcile.standing import Refusal, standing, standings
from control_plane.reconcile.verdict import Heard
from control_plane.reconcile.world import EnvoyState
from control_plane.resources.model import Resource, Snapshot, new_snapshot
from control_plane.xds.cache import NodeStatus
from control_plane.xds.node import NodeKey
from control_plane.xds.rejection import Rejection
from control_plane.xds.session import TypeStatus
from hyperv.model import Endpoint
from tests.control_plane.test_verdict import heard
from wire.names import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    ENVOY_ROLE,
    LEASE_TYPE,
    POLICY_TYPE,
    SENSOR_TYPE,
    WORKER_ROLE,
)

TYPES = (CLUSTER_TYPE, ENDPOINT_TYPE, POLICY_TYPE, LEASE_TYPE, SENSOR_TYPE)
SINCE_NS = 1_770_000_000_000_000_000
HERE = Endpoint(address="127.20.0.1", port=7070)


def status(
    sent: Mapping[str, str], acked: Mapping[str, str], rejected: Mapping[str, Rejection] | None = None
) -> TypeStatus:
    """Return where a client stands with a type, since one moment for all."""
    names = {*sent, *acked, *(rejected or {})}
    return TypeStatus(sent, acked, rejected or {}, 0, since=dict.fromkeys(names, SINCE_NS))


def snapshot(**versions: Mapping[str, str]) -> Snapshot:
    """Return a snapshot: by the last word of its type, `{name: version}`."""
    by_word = {type_url.rpartition(".")[2]: type_url for type_url in TYPES}
    resources = [
        Resource(name, by_word[word], version, b"")
        for word, of_type in versions.items()
        for name, version in of_type.items()
    ]
    return new_snapshot(resources, TYPES)


def node(
    types: Mapping[str, TypeStatus],
    wanted: Snapshot | None,
    *,
    role: str = ENVOY_ROLE,
    connected: bool = True,
    **known: Any,
) -> KnownNode:
    """Return what is known of node-1."""
    since = SINCE_NS if connected else None
    return KnownNode(NodeStatus(NodeKey(role, "node-1"), since, {}, types, 1), wanted, **known)


# --- one resource -----------------------------------------------------------------------------
CASES: list[tuple[str, dict[str, Any], str | None, ResourceState]] = [
    ("runs it", {"sent": {"a": "2"}, "acked": {"a": "2"}}, "2", "live"),
    ("was sent it", {"sent": {"a": "2"}, "acked": {}}, "2", "warming"),
    ("was sent the next", {"sent": {"a": "2"}, "acked": {"a": "1"}}, "2", "warming"),
    ("was sent nothing", {"sent": {}, "acked": {}}, "2", "pending"),
    ("was not sent the next yet", {"sent": {"a": "1"}, "acked": {"a": "1"}}, "2", "pending"),
    ("may run anything", {"sent": {"a": "?"}, "acked": {}}, "2", "pending"),
    (
        "refuses it",
        {"sent": {"a": "2"}, "acked": {"a": "1"}, "rejected": {"a": Rejection("2", "no")}},
        "2",
        "rejected",
    ),
    (
        "refused what is not wanted any more",
        {"sent": {"a": "2"}, "acked": {"a": "1"}, "rejected": {"a": Rejection("2", "no")}},
        "3",
        "pending",
    ),
    ("runs what it should not", {"sent": {"a": "1"}, "acked": {"a": "1"}}, None, "removing"),
    ("was told to drop it", {"sent": {"a": ""}, "acked": {"a": "1"}}, None, "removing"),
    ("was told that there is none", {"sent": {"a": ""}, "acked": {}}, None, "absent"),
    (
        "refuses to drop it",
        {"sent": {"a": ""}, "acked": {"a": "1"}, "rejected": {"a": Rejection("", "no")}},
        None,
        "rejected",
    ),
]


@pytest.mark.parametrize(
    ("known", "wanted", "state"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_state_of_a_resource(known: dict[str, Any], wanted: str | None, state: ResourceState) -> None:
    """One word for each combination of wanted, sent, run and refused."""
    published = snapshot(Cluster={} if wanted is None else {"a": wanted})
    found = standing(status(**known), CLUSTER_TYPE, "a", published)
    assert (found.state, found.wanted, found.since_unix_ns or SINCE_NS) == (state, wanted, SINCE_NS)
    assert found.sent == (known["sent"].get("a", "").strip("?") or None)


def test_what_was_never_asked_for_is_pending() -> None:
    """Nothing is known of it, not even since when."""
    found = standing(None, CLUSTER_TYPE, "a", snapshot(Cluster={"a": "1"}))
    assert (found.state, found.sent, found.since_unix_ns) == ("pending", None, None)


def test_a_node_that_waits_for_its_first_snapshot_removes_nothing() -> None:
    """A control plane that has just begun knows what runs before what should."""
    found = standing(status({"a": "1"}, {"a": "1"}), CLUSTER_TYPE, "a", None)
    assert (found.state, found.wanted, found.acked) == ("pending", None, "1")
    assert (
        node_view(node({CLUSTER_TYPE: status({"a": "1"}, {"a": "1"})}, None)).types["Cluster"].state
        == "warming"
    )


def test_what_the_preflight_check_keeps_back_is_rejected() -> None:
    """The node goes on with the version before; what was refused is said to be wanted."""
    held = {(CLUSTER_TYPE, "a"): Refusal("2", "no such thing", "preflight")}
    runs = status({"a": "1"}, {"a": "1"})
    [found] = standings(runs, CLUSTER_TYPE, snapshot(Cluster={"a": "1"}), held)
    assert (found.state, found.wanted, found.acked) == ("rejected", "2", "1")
    known = node({CLUSTER_TYPE: runs}, snapshot(Cluster={"a": "1"}), held=held)
    view = node_view(known)
    assert view.types["Cluster"].rejected["a"].by == "preflight"
    assert (view.status, view.message) == (
        "degraded",
        "is spared, because the pre-flight check refuses Cluster a: no such thing",
    )


# --- one node -----------------------------------------------------------------------------------
def test_a_node_is_summed_up() -> None:
    """Per type: how many, which, since when; two nodes that run the same have the same versions."""
    types = {
        CLUSTER_TYPE: status({"a": "1", "b": "2"}, {"a": "1", "b": "2"}),
        ENDPOINT_TYPE: status({"a": "1", "b": ""}, {}),
    }
    wanted = snapshot(Cluster={"a": "1", "b": "2"}, ClusterLoadAssignment={"a": "1"})
    view = node_view(node(types, wanted))
    clusters, endpoints = view.types["Cluster"], view.types["ClusterLoadAssignment"]
    assert (clusters.state, clusters.wanted, clusters.sent, clusters.acked) == ("live", 2, 2, 2)
    assert clusters.sent_version == clusters.acked_version
    assert clusters.since is not None
    assert int(clusters.since.timestamp()) == SINCE_NS // 1_000_000_000
    assert (endpoints.state, endpoints.wanted, endpoints.sent, endpoints.acked) == ("warming", 1, 1, 0)
    assert (view.status, view.message) == ("up", "takes ClusterLoadAssignment")
    turned = {CLUSTER_TYPE: status({"b": "2", "a": "1"}, {"b": "2", "a": "1"})}
    assert node_view(node(turned, wanted)).types["Cluster"].acked_version == clusters.acked_version


def test_a_node_that_refuses_is_degraded() -> None:
    """The first refusal is in the sentence, each in its type with version and text."""
    types = {
        CLUSTER_TYPE: status(
            {"a": "2"}, {"a": "1"}, {"a": Rejection("2", "no"), "b": Rejection("1", "neither")}
        )
    }
    view = node_view(node(types, snapshot(Cluster={"a": "2", "b": "1"})))
    assert (view.status, view.message) == ("degraded", "refuses Cluster a: no (and 1 more)")
    assert view.types["Cluster"].state == "rejected"
    assert view.types["Cluster"].rejected["a"].version == "2"


@pytest.mark.parametrize(
    ("known", "word", "message"),
    [
        ({"connected": False}, "unreachable", "is not connected"),
        ({"problems": ("Cluster a needs b",)}, "degraded", "was not sent: Cluster a needs b"),
        ({}, "up", "runs all that it was sent"),
        ({"wanted": None}, "degraded", "what it should run is not known yet"),
        ({"role": WORKER_ROLE}, "degraded", "has not said yet"),
        ({"role": WORKER_ROLE, "heard": heard()["node-1"]}, "up", "shards: 0"),
        ({"role": WORKER_ROLE, "heard": heard(age_s=9.0)["node-1"]}, "unreachable", "silent for 9 s"),
    ],
)
def test_a_node_in_one_word(known: dict[str, Any], word: str, message: str) -> None:
    """The summary and the view agree."""
    shown = node({}, **{"wanted": Snapshot({}), **known})
    summary, view = node_summary(shown), node_view(shown)
    assert (summary.status, view.status) == (word, word)
    assert message in summary.message == view.message


def test_every_resource_of_a_node_is_listed() -> None:
    """What it should run, what it still runs and what it asked for, by type and name."""
    types = {
        ENDPOINT_TYPE: status({"b": "1", "gone": ""}, {"b": "1"}),
        CLUSTER_TYPE: status({"a": "1"}, {"a": "1"}),
    }
    wanted = snapshot(Cluster={"a": "1"}, ClusterLoadAssignment={"b": "1", "c": "1"})
    detail = node_detail(node(types, wanted))
    assert [(each.type, each.name, each.state) for each in detail.resources] == [
        ("Cluster", "a", "live"),
        ("ClusterLoadAssignment", "b", "live"),
        ("ClusterLoadAssignment", "c", "pending"),
        ("ClusterLoadAssignment", "gone", "absent"),
    ]


# --- what carries a sensor ----------------------------------------------------------------------
ENVOY_TYPES = {
    CLUSTER_TYPE: status({"host.lab": "1"}, {"host.lab": "1"}),
    ENDPOINT_TYPE: status({"host.lab": "5"}, {"host.lab": "5"}),
}
ENVOY_WANTS = snapshot(Cluster={"host.lab": "1"}, ClusterLoadAssignment={"host.lab": "5"})
WORKER_TYPES = {
    LEASE_TYPE: status({"0": "1"}, {"0": "1"}),
    SENSOR_TYPE: status({"press-1": "7"}, {"press-1": "7"}),
}
WORKER_WANTS = snapshot(ShardLease={"0": "1"}, SensorAssignment={"press-1": "7"})
RUNS = {"node-1": EnvoyState(connected=True, runs={"lab": {"press-1": HERE}})}


def worker(types: Mapping[str, TypeStatus] = WORKER_TYPES, said: Heard | None = None) -> KnownNode:
    """Return the worker."""
    return node(types, WORKER_WANTS, role=WORKER_ROLE, heard=said)


def test_envoy_and_worker_carry_a_sensor() -> None:
    """Each with its resources; the Envoy with the address, the worker with the stream."""
    nodes = [node(ENVOY_TYPES, ENVOY_WANTS), worker(said=heard()["node-1"])]
    envoy, beside = carriers("press-1", "lab", 0, nodes, RUNS)
    assert (envoy.role, envoy.state, envoy.endpoint) == ("envoy", "live", HERE.version)
    assert [(each.type, each.acked) for each in envoy.resources] == [
        ("Cluster", "1"),
        ("ClusterLoadAssignment", "5"),
    ]
    assert (beside.role, beside.state) == ("worker", "live")
    assert [(each.type, each.name) for each in beside.resources] == [
        ("ShardLease", "0"),
        ("SensorAssignment", "press-1"),
    ]
    assert beside.stream is not None
    assert beside.stream.state == "live"


def test_carriers_that_are_not_there_yet() -> None:
    """An Envoy without the endpoint is pending, a silent worker has no stream, who is away is unreachable."""
    nodes = [node(ENVOY_TYPES, ENVOY_WANTS), worker(said=heard(age_s=9.0)["node-1"])]
    envoy, beside = carriers("press-1", "lab", 0, nodes, {"node-1": EnvoyState(connected=True)})
    assert (envoy.state, envoy.endpoint) == ("pending", None)
    assert beside.stream is None
    [away] = carriers("press-1", "lab", 0, [node(ENVOY_TYPES, ENVOY_WANTS, connected=False)], RUNS)
    assert away.state == "unreachable"


def test_a_carrier_says_what_it_refuses() -> None:
    """In the client's own words."""
    refuses = {SENSOR_TYPE: status({"press-1": "7"}, {}, {"press-1": Rejection("7", "press-1: no")})}
    [beside] = carriers("press-1", "lab", 0, [worker(WORKER_TYPES | refuses)], {})
    assert beside.state == "rejected"
    rejected = beside.resources[1].rejected
    assert rejected is not None
    assert (rejected.version, rejected.error) == ("7", "press-1: no")


def test_who_is_told_nothing_of_a_sensor_does_not_carry_it() -> None:
    """A worker with other sensors, an Envoy that knows no cluster of the host."""
    nodes = [node({}, snapshot()), node(WORKER_TYPES, WORKER_WANTS, role=WORKER_ROLE)]
    assert list(carriers("press-2", "other", 0, nodes, {})) == []


class _Refusing:
    """A pre-flight check that refuses cluster b."""

    def verdict(self, resource: Resource) -> PreflightVerdict:
        """Return what is known of one."""
        return PreflightVerdict("refused", "no such thing") if resource.name == "b" else PASSED

    def ever_passed(self, type_url: str, name: str) -> bool:
        """Return that this is new."""
        return (type_url, name) == ("", "")


def test_an_envoy_is_said_to_be_spared_what_the_gate_keeps_back() -> None:
    """With the version that it should run; the rest goes out."""
    gate = Gate(_Refusing())
    wanted = snapshot(Cluster={"a": "1", "b": "2"})
    admitted = gate.admitted(0, wanted)
    assert admitted is not None
    assert admitted.of(CLUSTER_TYPE).keys() == {"a"}
    held = gate.refusals(0)
    assert held == {(CLUSTER_TYPE, "b"): Refusal("2", "no such thing", "preflight")}
    assert gate.refusals(1) == {}
    runs = {CLUSTER_TYPE: status({"a": "1"}, {"a": "1"})}
    detail = node_detail(node(runs, admitted, held=held))
    assert [(each.name, each.state, each.wanted) for each in detail.resources] == [
        ("a", "live", "1"),
        ("b", "rejected", "2"),
    ]
