"""What surrounds the routes: tokens, health, metrics, the fleet's views, errors that nothing foresaw."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from blockbuster import BlockBuster

from control_plane.api import requests
from control_plane.api.problems import PROBLEMS
from tests.api.server import PRESS, Api
from tests.api.test_sensors import assert_problem

PROTECTED = (
    "sensors",
    "sensors/x",
    "sensors/x/windows",
    "hosts",
    "nodes",
    "nodes/envoy/node-1",
    "sinks",
    "audit",
    "status",
)
OPEN = ("/", "/healthz", "/readyz", "/metrics", "/v1/openapi.json", "/problems/not-found")


@pytest.mark.parametrize("noun", [*PROTECTED, "live/sensors", "live/windows?sensor=x"])
@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", "Basic dXNlcjpwYXNz", "Bearer \xff", "Bearer " + "x" * 600],
)
async def test_no_token_no_answer(api: Api, noun: str, authorization: str | None) -> None:
    """Whatever is no token of this installation gets 401, which says where the token is."""
    response, body = await api.call("GET", f"/v1/{noun}", headers={"Authorization": authorization})
    assert_problem(response, body, 401, "unauthorized")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert "/token" in body["detail"]


async def test_the_scheme_is_not_case_sensitive(api: Api) -> None:
    """RFC 9110: `bearer` is `Bearer`."""
    response, _ = await api.call("GET", "/v1/hosts", headers={"Authorization": f"bearer {api.token}"})
    assert response.status == 200


@pytest.mark.parametrize("path", OPEN)
async def test_what_needs_no_token(api: Api, path: str) -> None:
    """The page, health, metrics and documents are open, and answer HEAD."""
    for method in ("GET", "HEAD"):
        response, _ = await api.call(method, path, headers={"Authorization": None})
        assert response.status == 200
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_readiness_says_what_is_missing(api: Api) -> None:
    """Alive is not ready."""
    api.missing[:] = ["the store is not loaded", "the ADS server does not listen"]
    response, body = await api.call("GET", "/readyz")
    assert_problem(response, body, 503, "not-ready")
    assert body["detail"] == "the store is not loaded; the ADS server does not listen"
    response, body = await api.call("GET", "/healthz")
    assert (response.status, body) == (200, {"alive": True})


async def test_requests_are_counted_by_route(api: Api) -> None:
    """Paths of the counters are those of the table, never what a client made up."""
    await api.call("GET", "/v1/sensors/whatever")
    await api.call("GET", "/made/up")
    response, _ = await api.call("GET", "/metrics")
    text = await (await api.session.get(api.url + "/metrics")).text()
    assert response.content_type == "text/plain"
    assert 'gaugeway_api_requests_total{method="GET",route="/v1/sensors/{id}",status="404"} 1.0' in text
    assert 'gaugeway_api_requests_total{method="any",route="none",status="404"} 1.0' in text


@pytest.mark.parametrize("slug", sorted(PROBLEMS))
async def test_every_problem_is_explained(api: Api, slug: str) -> None:
    """The `type` of a problem is a page."""
    async with api.session.get(f"{api.url}/problems/{slug}") as response:
        text = await response.text()
    assert response.status == 200
    assert PROBLEMS[slug].meaning in text


@pytest.mark.parametrize(
    "path", ["/v1/sensor", "/problems/none", "/assets/none.js", "/assets/../app.py", "/v1/sensors/"]
)
async def test_a_path_that_is_none(api: Api, path: str) -> None:
    """Not found, as a problem."""
    assert_problem(*await api.call("GET", path), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/sensors", "GET,HEAD,POST"),
        ("PATCH", "/v1/sensors/x", "DELETE,GET,HEAD"),
        ("POST", "/healthz", "GET,HEAD"),
    ],
)
async def test_a_method_that_is_not_there(api: Api, method: str, path: str, allow: str) -> None:
    """The answer lists the methods that are."""
    response, body = await api.call(method, path)
    assert_problem(response, body, 405, "method-not-allowed")
    assert response.headers["Allow"] == allow


async def test_views_of_the_fleet(api: Api) -> None:
    """Hosts, nodes, sinks, audit and the glance show what the fleet knows, sorted."""
    for name in ("press-2", "press-1"):
        await api.call("POST", "/v1/sensors", json={**PRESS, "id": name})
    await api.fleet.go_live("press-1", rate=2.5)

    async def get(noun: str) -> Any:
        response, body = await api.call("GET", f"/v1/{noun}")
        assert response.status == 200
        assert response.headers["Cache-Control"] == "no-store"
        return body

    assert [sensor["id"] for sensor in (await get("sensors"))["sensors"]] == ["press-1", "press-2"]
    assert (await get("hosts"))["hosts"][0]["sensors"] == 2
    nodes = (await get("nodes"))["nodes"]
    assert [node["role"] for node in nodes] == ["envoy", "worker"]
    of_clusters = nodes[0]["types"]["Cluster"]
    assert (of_clusters["variant"], of_clusters["state"]) == ("delta", "rejected")
    assert of_clusters["rejected"]["host.b"]["error"] == "no address"
    assert "streams" not in nodes[1]["worker"]
    assert (await get("sinks"))["sinks"][0]["lag_rows"] == 3
    audit = await get("audit")
    assert [shard["shard"] for shard in audit["shards"]] == [0, 1]
    assert [row["sensor_id"] for row in audit["sensors"]] == ["press-1", "press-2"]
    status = await get("status")
    assert status["sensors"] == {"total": 2, "live": 1, "pending": 1}
    assert (status["readings_per_s"], status["shards"], status["version"]) == (2.5, 2, "0.1.0")
    assert status["urls"] == {"nats_url": "nats://127.0.0.1:4222"}


async def test_an_audit_is_whole_or_not_given(api: Api) -> None:
    """A shard that does not answer makes it a problem that names the shard."""
    api.fleet.away = (1,)
    response, body = await api.call("GET", "/v1/audit")
    assert_problem(response, body, 503, "audit-unavailable")
    assert "shard 1" in body["detail"]


async def test_a_query_where_none_is_known(api: Api) -> None:
    """A parameter that nothing reads is refused rather than ignored."""
    response, body = await api.call("GET", "/v1/sensors?status=live")
    assert_problem(response, body, 422, "invalid-request")
    assert body["errors"] == [{"field": "status", "rule": "is not known here"}]


async def test_a_defect_is_said_without_its_details(
    api: Api, monkeypatch: pytest.MonkeyPatch, nothing_blocks: BlockBuster
) -> None:
    """The client gets a reference; the words are for the log."""
    nothing_blocks.deactivate()  # a traceback in the log shows lines of source files

    def broken() -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(api.fleet, "hosts", broken)
    response, body = await api.call("GET", "/v1/hosts")
    assert_problem(response, body, 500, "internal-error")
    assert "secret" not in str(body)


async def test_a_body_that_does_not_come(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that stops in the middle of a body does not hold its handler for ever."""
    monkeypatch.setattr(requests, "BODY_S", 0.1)
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /v1/sensors HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n"
        b"Authorization: Bearer " + api.token.encode() + b"\r\n\r\n{"
    )
    async with asyncio.timeout(10):
        answer = await reader.readuntil(b"}")
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"/problems/request-timeout" in answer
