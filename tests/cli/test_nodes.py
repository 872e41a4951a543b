"""`gaugeway nodes` and `sensors show`: what each node runs, for people and for programs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gaugeway.__main__ import main
from gaugeway.cli.nodes import age
from tests.cli.api_double import ApiDouble
from tests.cli.test_commands import api, sensor

__all__ = ["api"]

SINCE = "2026-01-31T12:00:00Z"
REJECTION = {"version": "b2", "error": "no address", "by": "node", "since": SINCE}


def resource(name: str, **changes: Any) -> dict[str, Any]:
    """Return a cluster as the API shows it, live."""
    versions = {"wanted": "a1", "sent": "a1", "acked": "a1", "rejected": None}
    return {"type": "Cluster", "name": name, "state": "live", "since": SINCE, **versions, **changes}


def node(**changes: Any) -> dict[str, Any]:
    """Return an Envoy as the API shows it, changed."""
    of_clusters = {"variant": "delta", "wanted": 2, "acked": 1, "rejected": {"host.b": REJECTION}}
    return {
        "id": "envoy-1",
        "role": "envoy",
        "status": "degraded",
        "message": "refuses Cluster host.b: no address",
        "connected_since": None,
        "problems": [],
        "types": {"Cluster": of_clusters},
        "worker": None,
        **changes,
    }


def test_nodes_are_listed(api: ApiDouble, capsys: pytest.CaptureFixture[str]) -> None:
    """How much of what each should run it runs, and what it refuses."""
    api.answers["GET /v1/nodes"] = [(200, {"nodes": [node()]})]
    assert main(["nodes", "list"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[:5] == ["NODE", "ROLE", "STATUS", "FOR", "XDS"]
    assert row.split()[:6] == ["envoy-1", "envoy", "degraded", "delta", "Cluster", "1/2"]
    assert "host.b: no address" in row
    assert main(["nodes", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["nodes"][0]["id"] == "envoy-1"


def test_a_node_is_shown_with_its_resources(api: ApiDouble, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its versions; refusals say by whom, and what was not sent at all."""
    spared = {**REJECTION, "by": "preflight"}
    shown = node(
        problems=["Cluster c needs what is not there"],
        resources=[
            resource("host.a"),
            resource("host.b", state="rejected", wanted="b2", rejected=REJECTION),
            resource("host.c", state="rejected", rejected=spared),
            resource("host.d", state="rejected", rejected={**REJECTION, "version": None}),
        ],
    )
    api.answers["GET /v1/nodes/envoy/envoy-1"] = [(200, shown)]
    assert main(["nodes", "show", "envoy", "envoy-1"]) == 0
    told = capsys.readouterr().out
    assert "not sent: Cluster c needs what is not there" in told
    rows = {line.split()[1]: line for line in told.splitlines() if line.startswith("Cluster")}
    assert rows["host.a"].split()[4:] == ["a1", "a1", "a1"]
    assert rows["host.b"].endswith("b2: no address")
    assert rows["host.c"].endswith("before it was sent, b2: no address")
    assert rows["host.d"].endswith("its removal: no address")
    assert main(["nodes", "show", "envoy", "envoy-1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == shown


def test_resources_of_a_node_are_chosen(api: ApiDouble) -> None:
    """The query is the API's; whatever is typed as an id is one segment."""
    assert main(["nodes", "show", "worker", "a/b", "--type", "ShardLease", "--state", "warming"]) == 3
    assert api.asked[0].path == "/v1/nodes/worker/a%2Fb?type=ShardLease&state=warming"
    assert main(["nodes", "show", "sink", "a"]) == 2
    assert main(["nodes", "show", "envoy", "a", "--state", "fine"]) == 2


def test_a_sensor_is_shown_with_what_carries_it(api: ApiDouble, capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each resource of each node, after the sensor's own fields."""
    shown = {
        **sensor("degraded", "its stream is cut"),
        "last_failure": {"node": "envoy-1", "reason": "the connection to its VM failed: refused"},
        "carried_by": [
            {
                "id": "envoy-1",
                "role": "envoy",
                "state": "warming",
                "resources": [resource("host.lab"), resource("host.lab", type="ClusterLoadAssignment")],
            }
        ],
    }
    api.answers["GET /v1/sensors/press-1"] = [(200, shown)]
    assert main(["sensors", "show", "press-1"]) == 0
    told = capsys.readouterr().out
    assert "last_failure.reason  the connection to its VM failed: refused" in told
    rows = [line.split() for line in told.splitlines() if "host.lab" in line]
    assert rows[0][:5] == ["envoy-1", "envoy", "warming", "Cluster", "host.lab"]
    assert rows[1][:2] == ["ClusterLoadAssignment", "host.lab"]
    assert main(["sensors", "show", "press-1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == shown
    api.answers["GET /v1/sensors/press-1"] = [(200, {**shown, "carried_by": []})]
    assert main(["sensors", "show", "press-1"]) == 0
    assert "Nothing carries it yet." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (timedelta(seconds=-5), "0s"),
        (timedelta(seconds=59), "59s"),
        (timedelta(seconds=61), "1m"),
        (timedelta(hours=5, minutes=59), "5h"),
        (timedelta(days=3), "3d"),
    ],
)
def test_ages_are_short(passed: timedelta, text: str) -> None:
    """The largest whole unit; a clock that is ahead of ours makes none negative."""
    assert age((datetime.now(UTC) - passed).isoformat()) == text
    assert age(None) == ""
