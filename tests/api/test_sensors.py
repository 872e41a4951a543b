"""Sensors over HTTP: what works, and every way to be refused."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from control_plane.api.ports import AuditEntry
from control_plane.api.problems import PROBLEMS
from tests.api.server import PRESS, Api, serving

JSON = {"Content-Type": "application/json"}


def assert_problem(response: Any, body: Any, status: int, slug: str) -> None:
    """Check that the answer is the documented problem."""
    assert response.status == status
    assert response.content_type == "application/problem+json"
    assert body["type"] == f"/problems/{slug}"
    assert body["status"] == PROBLEMS[slug].status == status
    assert body["detail"]


async def test_a_sensor_is_added_listed_shown_and_removed(api: Api) -> None:
    """The life of a sensor, as a client sees it."""
    response, added = await api.call("POST", "/v1/sensors", json=PRESS)
    assert response.status == 201
    assert response.headers["Location"] == "/v1/sensors/press-1"
    assert (added["id"], added["status"], added["flush_ms"]) == ("press-1", "pending", 200)
    assert added["created_at"] == "2026-01-31T12:00:00Z"
    assert added["source"] == {**PRESS["source"], "loop": True}

    response, shown = await api.call("GET", "/v1/sensors/press-1")
    assert (response.status, shown) == (200, added)
    _, listed = await api.call("GET", "/v1/sensors")
    only_here = {"carried_by", "last_failure"}
    assert listed == {"sensors": [{key: added[key] for key in added.keys() - only_here}]}

    response, removing = await api.call("DELETE", "/v1/sensors/press-1")
    assert (response.status, removing["status"]) == (202, "removing")
    response, again = await api.call("DELETE", "/v1/sensors/press-1")
    assert (response.status, again) == (202, removing)
    await api.fleet.drop("press-1")
    assert_problem(*await api.call("GET", "/v1/sensors/press-1"), 404, "not-found")
    assert_problem(*await api.call("DELETE", "/v1/sensors/press-1"), 404, "not-found")


async def test_what_people_do_is_audited(api: Api) -> None:
    """Each change and each refusal by the fleet has a row that names who, what and the outcome."""
    await api.call("POST", "/v1/sensors", json=PRESS)
    await api.call("POST", "/v1/sensors", json=PRESS)
    await api.call("DELETE", "/v1/sensors/press-1")
    rows = await api.accounts.audit_rows("press-1")
    assert [(row.principal.name, row.action, row.outcome) for row in rows] == [
        ("operator", "sensor.add", 201),
        ("operator", "sensor.add", 409),
        ("operator", "sensor.remove", 202),
    ]
    assert rows[0].detail["site"] == "hall-3"


async def test_a_client_that_leaves_does_not_stop_a_change_half_way(api: Api) -> None:
    """What was asked for is done and has its audit row, and its key the answer."""
    requests: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/v1/sensors", {"json": PRESS, "headers": {"Idempotency-Key": "k1"}}),
        ("DELETE", "/v1/sensors/press-1", {}),
    ]
    for number, (method, path, options) in enumerate(requests, 1):
        api.fleet.writing, api.fleet.may_write = asyncio.Event(), asyncio.Event()
        left = asyncio.create_task(api.call(method, path, **options))
        async with asyncio.timeout(20):
            await api.fleet.writing.wait()
            left.cancel()
            await asyncio.wait({left})
            await api.call("GET", "/v1/sensors")  # the server has seen more than the end of that connection
            api.fleet.may_write.set()
            rows: list[AuditEntry] = []
            while len(rows) < number:
                rows = await api.accounts.audit_rows("press-1")
    response, _ = await api.call("POST", "/v1/sensors", json=PRESS, headers={"Idempotency-Key": "k1"})
    assert (response.status, response.headers["Idempotent-Replayed"]) == (201, "true")


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        ({"id": "Press 1"}, "id", "must be a DNS label"),
        ({"id": 7}, "id", "must be a valid string"),
        ({"host": "hyperv-9"}, "host", "must be one of lab; not hyperv-9"),
        ({"site": None}, "site", "must be a valid string"),
        ({"metrics": []}, "metrics", "must have at least 1 of them, not 0"),
        ({"metrics": [{"name": "temperature"}]}, "metrics[0].unit", "is required"),
        ({"metrics": [{"name": "Temp", "unit": "Cel"}]}, "metrics", "name 'Temp' must be 1 to 63 of"),
        (
            {"source": {"kind": "replay", "recording": "x"}},
            "source.recording",
            "'machine_temperature'",
        ),
        (
            {"source": {"kind": "opcua"}},
            "source",
            "one of 'machine', 'replay'; not 'opcua'",
        ),
        (
            {"source": {"kind": "machine", "interval_ms": 1}},
            "source.interval_ms",
            "than or equal to 10",
        ),
        ({"source": {"kind": "machine"}}, "metrics", "of a machine must be among cpu_temperature"),
        (
            {"source": {"kind": "machine"}, "metrics": [{"name": "cpu_load", "unit": "Cel"}]},
            "metrics",
            "the unit of cpu_load must be '%', not 'Cel'",
        ),
        (
            {"metrics": [{"name": n, "unit": "K"} for n in "ab"]},
            "metrics",
            "must be exactly one for a source",
        ),
        ({"metrics": [{"name": "a", "unit": "K"}] * 2}, "metrics", "twice: a"),
        ({"source": {}}, "source", "must have a 'kind'"),
        ({"flush_ms": "200"}, "flush_ms", "must be a valid integer"),
        ({"flush_ms": True}, "flush_ms", "must be a valid integer"),
        ({"spool_bytes": 1}, "spool_bytes", "must be greater than or equal to 65536"),
        ({"colour": "red"}, "colour", "is not known here"),
    ],
)
async def test_a_body_that_breaks_a_rule(api: Api, change: dict[str, Any], field: str, rule: str) -> None:
    """The problem names the field and the rule, and nothing is changed."""
    response, body = await api.call("POST", "/v1/sensors", json={**PRESS, **change})
    assert_problem(response, body, 422, "invalid-request")
    named = {error["field"]: error["rule"] for error in body["errors"]}
    assert rule in named[field]
    assert field in body["detail"]
    assert await api.fleet.sensors() == []


async def test_every_broken_rule_is_named(api: Api) -> None:
    """One answer names all fields that are wrong."""
    _, body = await api.call("POST", "/v1/sensors", json={"id": "-", "metrics": [], "x": 1})
    assert [error["field"] for error in body["errors"]] == ["id", "site", "metrics", "source", "x"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "slug"),
    [
        (b"", JSON, 400, "invalid-json"),
        (b"{", JSON, 400, "invalid-json"),
        (b'{"id": "\xff"}', JSON, 400, "invalid-json"),
        (b"[" * 10_000, JSON, 400, "invalid-json"),
        (b"[]", JSON, 422, "invalid-request"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "unsupported-media-type"),
        (b"{}", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported-media-type"),
        (b"{}", {**JSON, "Content-Encoding": "gzip"}, 415, "unsupported-media-type"),
        (b'"' + b"x" * 65_536, JSON, 413, "body-too-large"),
    ],
)
async def test_a_body_that_cannot_be_read(
    api: Api, body: bytes, headers: dict[str, str], status: int, slug: str
) -> None:
    """What is no JSON, is said to be something else, or is too large."""
    response, problem = await api.call("POST", "/v1/sensors", data=body, headers=headers)
    assert_problem(response, problem, status, slug)


async def test_the_largest_body_is_read(api: Api) -> None:
    """64 KiB are within the limit."""
    body = json.dumps(PRESS).encode().ljust(65_536)
    response, _ = await api.call("POST", "/v1/sensors", data=body, headers=JSON)
    assert response.status == 201


async def test_a_sensor_that_exists(api: Api) -> None:
    """It stays as it is; while it is being removed the answer says so."""
    await api.call("POST", "/v1/sensors", json=PRESS)
    response, body = await api.call("POST", "/v1/sensors", json={**PRESS, "site": "hall-4"})
    assert_problem(response, body, 409, "sensor-exists")
    view = api.fleet.sensor("press-1")
    assert view is not None
    assert view.site == "hall-3"
    await api.call("DELETE", "/v1/sensors/press-1")
    _, body = await api.call("POST", "/v1/sensors", json=PRESS)
    assert "is being removed" in body["detail"]


async def test_the_store_is_away(api: Api) -> None:
    """Reads go on; writes are refused for now, and change nothing."""
    await api.call("POST", "/v1/sensors", json=PRESS)
    api.fleet.store_down = True
    for method, path, body in (
        ("POST", "/v1/sensors", {**PRESS, "id": "press-2"}),
        ("DELETE", "/v1/sensors/press-1", None),
    ):
        response, problem = await api.call(method, path, json=body)
        assert_problem(response, problem, 503, "store-unavailable")
        assert response.headers["Retry-After"] == "1"
    response, _ = await api.call("GET", "/v1/sensors/press-1")
    assert response.status == 200


async def test_an_entity_tag_follows_what_is_said(api: Api) -> None:
    """304 while nothing changed; another tag as soon as the status does."""
    response, _ = await api.call("POST", "/v1/sensors", json=PRESS)
    tag = response.headers["ETag"]
    assert tag.startswith('"1-')
    for condition in (tag, f'"x", {tag}', f"W/{tag}", "*"):
        response, _ = await api.call("GET", "/v1/sensors/press-1", headers={"If-None-Match": condition})
        assert (response.status, response.headers["ETag"]) == (304, tag)
    await api.fleet.go_live("press-1")
    response, body = await api.call("GET", "/v1/sensors/press-1", headers={"If-None-Match": tag})
    assert (response.status, body["status"]) == (200, "live")
    assert response.headers["ETag"] != tag


async def test_a_removal_that_means_one_revision(api: Api) -> None:
    """If-Match refuses another revision, and takes the same whatever the status is by now."""
    response, _ = await api.call("POST", "/v1/sensors", json=PRESS)
    tag = response.headers["ETag"]
    for condition in ('"2"', '"2-0123456789ab"', "junk", f"W/{tag}", '"\xff"'):
        response, body = await api.call("DELETE", "/v1/sensors/press-1", headers={"If-Match": condition})
        assert_problem(response, body, 412, "precondition-failed")
    await api.fleet.go_live("press-1")
    response, _ = await api.call("DELETE", "/v1/sensors/press-1", headers={"If-Match": tag})
    assert response.status == 202


async def test_a_key_gives_the_same_answer(api: Api) -> None:
    """The same request is served once, also if the sensor changed since; another is refused."""
    headers = {"Idempotency-Key": "k-1"}
    first, body = await api.call("POST", "/v1/sensors", json=PRESS, headers=headers)
    await api.fleet.go_live("press-1")
    again, same = await api.call("POST", "/v1/sensors", json=PRESS, headers=headers)
    assert (again.status, same) == (201, body)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert [again.headers[name] for name in ("Location", "ETag")] == [
        first.headers[name] for name in ("Location", "ETag")
    ]
    response, problem = await api.call("POST", "/v1/sensors", json={**PRESS, "site": "b"}, headers=headers)
    assert_problem(response, problem, 422, "idempotency-key-reused")
    assert len(await api.accounts.audit_rows("press-1")) == 1


async def test_a_key_keeps_a_refusal(api: Api) -> None:
    """What the fleet refused is refused again with the same words."""
    await api.call("POST", "/v1/sensors", json=PRESS)
    headers = {"Idempotency-Key": "k-2"}
    first = await api.call("POST", "/v1/sensors", json=PRESS, headers=headers)
    again = await api.call("POST", "/v1/sensors", json=PRESS, headers=headers)
    assert_problem(*first, 409, "sensor-exists")
    assert_problem(*again, 409, "sensor-exists")
    assert again[1] == first[1]


async def test_a_key_whose_first_try_was_never_answered(api: Api) -> None:
    """A retry finishes what was begun: nothing of it is there, or all of it."""
    headers = {"Idempotency-Key": "k-3"}
    api.fleet.store_down = True
    response, problem = await api.call("POST", "/v1/sensors", json=PRESS, headers=headers)
    assert_problem(response, problem, 503, "store-unavailable")
    api.fleet.store_down = False
    await api.call("POST", "/v1/sensors", json=PRESS)  # as if the store had taken the first try after all
    response, body = await api.call("POST", "/v1/sensors", json=PRESS, headers=headers)
    assert (response.status, body["id"]) == (201, "press-1")


async def test_a_key_that_is_none(api: Api) -> None:
    """A header that breaks its rule is named."""
    response, body = await api.call("POST", "/v1/sensors", json=PRESS, headers={"Idempotency-Key": "a b"})
    assert_problem(response, body, 422, "invalid-request")
    assert body["errors"][0]["field"] == "Idempotency-Key"


async def test_windows_of_the_past(api: Api) -> None:
    """Windows come from the history with times in RFC 3339; each parameter has its rule."""
    await api.call("POST", "/v1/sensors", json=PRESS)
    query = "metric=temperature&size=60s&since=2026-01-31T12:00:00Z&until=2026-01-31T13:00:00%2B00:00&limit=2"
    response, body = await api.call("GET", f"/v1/sensors/press-1/windows?{query}")
    assert response.status == 200
    starts = [window["window_start"] for window in body["windows"]]
    assert starts == ["2026-01-31T12:58:00Z", "2026-01-31T12:59:00Z"]
    assert "shard" not in body["windows"][0]
    assert api.history is not None
    response, _ = await api.call("GET", "/v1/sensors/press-1/windows?metric=temperature")
    assert response.status == 200
    asked = api.history.asked[-1]
    assert (asked["size_ms"], asked["limit"]) == (10_000, 1000)


@pytest.mark.parametrize(
    ("query", "field", "rule"),
    [
        ("", "metric", "is required"),
        ("metric=humidity", "metric", "must be one of the sensor's: temperature"),
        ("metric=temperature&size=10", "size", "must be a duration"),
        ("metric=temperature&since=yesterday", "since", "must be a time (RFC 3339"),
        ("metric=temperature&since=2026-02-30T00:00:00Z", "since", "must be a time (RFC 3339"),
        ("metric=temperature&since=1h&until=2h", "until", "must not be before since"),
        ("metric=temperature&limit=0", "limit", "must be greater than or equal to 1"),
        ("metric=temperature&metric=temperature", "metric", "must be given once"),
        ("metric=temperature&sinze=1h", "sinze", "is not known here"),
    ],
)
async def test_a_query_that_breaks_a_rule(api: Api, query: str, field: str, rule: str) -> None:
    """The problem names the parameter and the rule."""
    await api.call("POST", "/v1/sensors", json=PRESS)
    response, body = await api.call("GET", f"/v1/sensors/press-1/windows?{query}")
    assert_problem(response, body, 422, "invalid-request")
    assert body["errors"][0]["field"] == field
    assert rule in body["errors"][0]["rule"]


async def test_no_history(tmp_path: Path) -> None:
    """An installation without a warehouse says so; an unknown sensor is not found all the same."""
    async with serving(tmp_path, history=False) as api:
        await api.call("POST", "/v1/sensors", json=PRESS)
        path = "/v1/sensors/press-1/windows?metric=temperature"
        assert_problem(*await api.call("GET", path), 404, "no-history")
        path = "/v1/sensors/press-2/windows?metric=temperature"
        assert_problem(*await api.call("GET", path), 404, "not-found")
