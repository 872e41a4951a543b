"""One node with every resource, and what carries a sensor."""

from __future__ import annotations

import pytest

from tests.api.server import PRESS, Api
from tests.api.test_sensors import assert_problem


async def test_a_node_is_shown_with_every_resource(api: Api) -> None:
    """Versions, states, and what was refused: why, by whom, since when."""
    response, body = await api.call("GET", "/v1/nodes/envoy/node-1")
    assert response.status == 200
    assert (body["id"], body["role"], body["worker"]) == ("node-1", "envoy", None)
    live, refused = body["resources"]
    assert (live["type"], live["name"], live["state"]) == ("Cluster", "host.a", "live")
    assert live["wanted"] == live["sent"] == live["acked"]
    assert (refused["state"], refused["acked"]) == ("rejected", None)
    assert refused["rejected"] == {
        "version": refused["wanted"],
        "error": "no address",
        "by": "node",
        "since": "2026-01-31T12:00:00Z",
    }
    assert (await api.call("GET", "/v1/nodes/worker/node-1"))[1]["worker"]["pid"] == 7


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("?type=Cluster", ["host.a", "host.b"]),
        ("?state=live", ["host.a"]),
        ("?type=Cluster&state=rejected", ["host.b"]),
        ("?type=Listener", []),
    ],
)
async def test_resources_are_chosen(api: Api, query: str, names: list[str]) -> None:
    """By type and by state; the rest of the node stays."""
    _, body = await api.call("GET", f"/v1/nodes/envoy/node-1{query}")
    assert [resource["name"] for resource in body["resources"]] == names
    assert body["types"]["Cluster"]["wanted"] == 2


async def test_a_node_that_did_not_change_is_not_sent_again(api: Api) -> None:
    """304 for the tag of what was said; a query that says something else has another tag."""
    response, _ = await api.call("GET", "/v1/nodes/envoy/node-1")
    tag = response.headers["ETag"]
    response, _ = await api.call("GET", "/v1/nodes/envoy/node-1", headers={"If-None-Match": tag})
    assert (response.status, response.headers["ETag"]) == (304, tag)
    response, _ = await api.call("GET", "/v1/nodes/envoy/node-1?state=live", headers={"If-None-Match": tag})
    assert response.status == 200


@pytest.mark.parametrize("path", ["envoy/node-2", "worker/node-2", "sink/node-1"])
async def test_an_unknown_node_is_not_found(api: Api, path: str) -> None:
    """Neither of an unknown role."""
    response, body = await api.call("GET", f"/v1/nodes/{path}")
    assert_problem(response, body, 404, "not-found")
    assert body["detail"] == f"there is no {path.replace('/', ' ')}"


async def test_an_unknown_state_is_refused(api: Api) -> None:
    """The states that there are are in the rule."""
    response, body = await api.call("GET", "/v1/nodes/envoy/node-1?state=fine")
    assert_problem(response, body, 422, "invalid-request")
    assert "warming" in body["errors"][0]["rule"]


async def test_a_sensor_says_what_carries_it(api: Api) -> None:
    """Each node with its versions, and the last failure; a list of sensors leaves that out."""
    await api.call("POST", "/v1/sensors", json=PRESS)
    _, before = await api.call("GET", "/v1/sensors/press-1")
    assert (before["carried_by"], before["last_failure"]) == ([], None)
    await api.fleet.go_live("press-1")
    _, body = await api.call("GET", "/v1/sensors/press-1")
    [carrier] = body["carried_by"]
    assert (carrier["role"], carrier["state"], carrier["endpoint"]) == ("envoy", "live", "127.20.0.1:9000")
    assert carrier["resources"][0]["name"] == "host.lab"
    assert body["last_failure"]["flags"] == ["UF"]
    assert "Connection refused" in body["last_failure"]["reason"]
    _, listed = await api.call("GET", "/v1/sensors")
    assert not {"carried_by", "last_failure"} & listed["sensors"][0].keys()
