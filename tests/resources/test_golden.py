"""What Envoys are told: golden files, and the bytes of endpoints against envoy-data-plane's own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import betterproto2
import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import Address, Metadata, SocketAddress
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, Endpoint, LbEndpoint
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.google.protobuf import Struct, Value
from hypothesis import given
from hypothesis import strategies as st

from control_plane.resources.endpoints import encoded_endpoint
from control_plane.resources.envoy import PARTS, envoy_snapshot
from control_plane.resources.gateway import EnvoySnapshots, Placed
from control_plane.resources.model import InconsistentSnapshotError, Resource, check_consistent
from hyperv import model
from wire.names import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE

GOLDEN = Path(__file__).parent / "golden"
MESSAGES: dict[str, type[betterproto2.Message]] = {
    CLUSTER_TYPE: Cluster,
    ENDPOINT_TYPE: ClusterLoadAssignment,
    LISTENER_TYPE: Listener,
    ROUTE_TYPE: RouteConfiguration,
}
HALL = {f"press-{number}": model.Endpoint(address=f"127.20.0.{number}", port=7070) for number in (2, 1)}
CASES: dict[str, dict[str, Placed]] = {"empty": {"yard": {}}, "two-hosts": {"hall": HALL, "yard": {}}}


def document(case: str) -> str:
    """Return a snapshot as JSON, as Envoy's config dump would show it; port 10000."""
    snapshot = envoy_snapshot(CASES[case], 10_000)
    check_consistent(snapshot)
    shown = {
        type_url.rpartition(".")[2]: {
            name: {
                "version": resource.version,
                "resource": MESSAGES[type_url].parse(resource.body).to_dict(),
            }
            for name, resource in sorted(resources.items())
        }
        for type_url, resources in snapshot.resources.items()
        if resources
    }
    return json.dumps(shown, indent=1, sort_keys=True) + "\n"


@pytest.mark.parametrize("case", CASES)
def test_a_snapshot_is_the_golden_one(case: str) -> None:
    """Set UPDATE_GOLDEN=1 to write it anew after a change that is meant.

    A changed version of a listener cuts every stream of every node when it goes out.
    """
    golden = GOLDEN / f"{case}.json"
    text = document(case)
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


@given(
    sensor_id=st.from_regex(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True),
    address=st.ip_addresses().map(str),
    port=st.integers(1, 65_535),
)
def test_endpoints_are_the_same_bytes_as_envoy_data_planes(sensor_id: str, address: str, port: int) -> None:
    """Our slim messages leave nothing out and number every field as Envoy does."""
    theirs = LbEndpoint(
        endpoint=Endpoint(
            address=Address(socket_address=SocketAddress(address=address, port_value=port)),
            hostname=f"{sensor_id}.sensor.gaugeway.internal",
        ),
        metadata=Metadata(
            filter_metadata={"envoy.lb": Struct(fields={"sensor": Value(string_value=sensor_id)})}
        ),
    )
    assert encoded_endpoint(sensor_id, address, port) == bytes(theirs)


class Counting:
    """Builds resources, and remembers which."""

    def __init__(self) -> None:
        self.built: list[str] = []

    def cluster(self, host_id: str) -> Resource:
        """Build a cluster."""
        self.built.append(f"cluster {host_id}")
        return PARTS.cluster(host_id)

    def endpoints(self, host_id: str, placed: Placed) -> Resource:
        """Build a load assignment."""
        self.built.append(f"endpoints {host_id}")
        return PARTS.endpoints(host_id, placed)

    def listener(self, gateway_port: int) -> Resource:
        """Build a listener."""
        self.built.append(f"listener {gateway_port}")
        return PARTS.listener(gateway_port)

    def routes(self) -> Resource:
        """Build the routes."""
        self.built.append("routes")
        return PARTS.routes()


def test_a_changed_sensor_builds_its_hosts_endpoints_and_nothing_else() -> None:
    """However many hosts and Envoys there are; all Envoys get it, and the rest is shared."""
    parts = Counting()
    snapshots = EnvoySnapshots(parts)
    snapshots.change({"hall": HALL, "yard": {}})
    before = {port: snapshots.of_port(port) for port in (10_000, 10_001)}
    parts.built.clear()
    moved = {**HALL, "press-1": model.Endpoint(address="127.20.0.9", port=7070)}
    snapshots.change({"hall": moved})
    assert parts.built == ["endpoints hall"]
    for port, old in before.items():
        new = snapshots.of_port(port)
        assert new.changed_since(old) == {ENDPOINT_TYPE: {"host.hall"}}
        assert new.resources == envoy_snapshot({"hall": moved, "yard": {}}, port).resources


def test_a_host_comes_and_goes_with_its_cluster() -> None:
    """Both its resources; what is left is consistent."""
    snapshots = EnvoySnapshots(PARTS)
    snapshots.change({"hall": HALL})
    snapshots.change({"yard": {}})
    assert set(snapshots.of_port(0).of(CLUSTER_TYPE)) == {"host.hall", "host.yard"}
    snapshots.change({"hall": None})
    snapshot = snapshots.of_port(0)
    assert set(snapshot.of(CLUSTER_TYPE)) == set(snapshot.of(ENDPOINT_TYPE)) == {"host.yard"}
    check_consistent(snapshot)


@pytest.mark.parametrize(
    ("hosts", "problem"),
    [
        (
            {"yard": {"press-1": model.Endpoint(address="127.20.1.1", port=7070)}},
            "sensor press-1 is on host hall and on host yard",
        ),
        (
            {"hall": {**HALL, "press-3": HALL["press-1"]}},
            "sensors press-1 and press-3 of host hall are both at 127.20.0.1:7070",
        ),
    ],
)
def test_what_envoy_would_serve_wrongly_is_refused(
    hosts: dict[str, dict[str, model.Endpoint]], problem: str
) -> None:
    """The reason names both; nothing has changed, and a sensor that moves in one change is no problem."""
    snapshots = EnvoySnapshots(PARTS)
    snapshots.change({"hall": HALL, "yard": {}})
    before = snapshots.of_port(0)
    with pytest.raises(InconsistentSnapshotError, match=problem):
        snapshots.change(hosts)
    assert snapshots.of_port(0) is before
    left = {key: each for key, each in HALL.items() if key != "press-1"}
    snapshots.change({"hall": left, "yard": {"press-1": HALL["press-1"]}})
    check_consistent(snapshots.of_port(0))
