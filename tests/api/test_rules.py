"""Rules over HTTP: set, shown, changed under conditions, removed; events listed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.server import Api

HOT: dict[str, Any] = {
    "selection": {"sensors": ["press-*"], "metrics": ["temperature"]},
    "condition": {"kind": "threshold", "side": "above", "level": 80, "clear": 75.5, "for_ms": 10_000},
}
CLOUD_EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "ab.begin",
    "source": "/v1/rules/hot",
    "type": "gaugeway.event.begin",
    "subject": "press-1/temperature",
    "time": "2026-01-31T12:00:00.000000001Z",
    "datacontenttype": "application/json",
    "data": {
        "event": "ab",
        "rule": "hot",
        "revision": 7,
        "kind": "threshold",
        "sensor": "press-1",
        "site": "hall-3",
        "metric": "temperature",
        "unit": "Cel",
        "since": "2026-01-31T12:00:00.000000000Z",
        "epoch": "00000000000000ab",
        "seq": 12,
        "value": 81.5,
        "reason": None,
    },
}


async def test_a_rule_is_set_shown_and_removed(api: Api) -> None:
    """PUT makes it (201), shows what it filled in, changes it (200); DELETE says what it was."""
    response, rule = await api.call("PUT", "/v1/rules/hot", json=HOT)
    assert response.status == 201
    assert rule["selection"] == {"sensors": ["press-*"], "sites": [], "metrics": ["temperature"]}
    assert rule["condition"] == HOT["condition"]
    shown, same = await api.call("GET", "/v1/rules/hot")
    assert (shown.status, same, shown.headers["ETag"]) == (200, rule, response.headers["ETag"])
    again, unchanged = await api.call("PUT", "/v1/rules/hot", json=HOT)
    assert (again.status, unchanged) == (200, rule), "set as it is, it keeps its revision"
    changed, other = await api.call(
        "PUT", "/v1/rules/hot", json={"condition": {"kind": "missing", "for_ms": 5000}}
    )
    assert (changed.status, other["condition"]) == (200, {"kind": "missing", "for_ms": 5000})
    assert other["revision"] > rule["revision"]
    _, listed = await api.call("GET", "/v1/rules")
    assert listed == {"rules": [other]}
    gone, was = await api.call("DELETE", "/v1/rules/hot")
    assert (gone.status, was) == (200, other)
    assert (await api.call("DELETE", "/v1/rules/hot"))[0].status == 404


async def test_conditions_are_heeded(api: Api) -> None:
    """If-Match and If-None-Match: what somebody else changed meanwhile is not overwritten."""
    first, _ = await api.call("PUT", "/v1/rules/hot", json=HOT, headers={"If-None-Match": "*"})
    assert first.status == 201
    taken, problem = await api.call("PUT", "/v1/rules/hot", json=HOT, headers={"If-None-Match": "*"})
    assert (taken.status, problem["type"]) == (412, "/problems/precondition-failed")
    other = {"condition": {"kind": "flatline", "for_ms": 60_000}}
    etag = {"If-Match": first.headers["ETag"]}
    assert (await api.call("PUT", "/v1/rules/hot", json=other, headers=etag))[0].status == 200
    for method in ("PUT", "DELETE"):
        body = {"json": HOT} if method == "PUT" else {}
        late, problem = await api.call(method, "/v1/rules/hot", headers=etag, **body)
        assert (late.status, problem["detail"][: len("rule hot has revision")]) == (
            412,
            "rule hot has revision",
        )
    _, now = await api.call("GET", "/v1/rules/hot")
    revision = {"If-Match": f'"{now["revision"]}"'}
    assert (await api.call("DELETE", "/v1/rules/hot", headers=revision))[0].status == 200
    assert (await api.call("PUT", "/v1/rules/hot", json=HOT, headers={"If-Match": "*"}))[0].status == 412


@pytest.mark.parametrize(
    ("path", "change", "field", "rule"),
    [
        ("hot", {"clear": 90.0}, "condition.clear", "must not be above level"),
        ("hot", {"side": "below", "clear": 75.5}, "condition.clear", "must not be below level"),
        ("hot", {"for_ms": -1}, "condition.for_ms", "must be greater than or equal to 0"),
        ("hot", {"level": "80"}, "condition.level", "must be a valid number"),
        ("hot", {"limit": 3}, "condition.limit", "is not known here"),
        ("hot", {"kind": "anomaly"}, "condition", "must have as 'kind' one of"),
        ("Hot", {}, "id", "must be a DNS label"),
    ],
)
async def test_what_breaks_a_rule_is_named(
    api: Api, path: str, change: dict[str, Any], field: str, rule: str
) -> None:
    """Each refusal names the field of the body and the rule that it breaks."""
    response, problem = await api.call(
        "PUT", f"/v1/rules/{path}", json=HOT | {"condition": HOT["condition"] | change}
    )
    assert (response.status, problem["type"]) == (422, "/problems/invalid-request")
    [error] = problem["errors"]
    assert error["field"] == field
    assert error["rule"].startswith(rule)


async def test_patterns_and_clocks_have_rules_too(api: Api) -> None:
    """A pattern has its characters; a clock is not a metric's."""
    _, problem = await api.call("PUT", "/v1/rules/hot", json=HOT | {"selection": {"sensors": ["a", "[b]"]}})
    assert problem["errors"][0]["field"] == "selection.sensors[1]"
    clock = {"selection": {"metrics": ["temperature"]}, "condition": {"kind": "clock_skew"}}
    _, problem = await api.call("PUT", "/v1/rules/clock", json=clock)
    [error] = problem["errors"]
    assert error == {
        "field": "selection.metrics",
        "rule": "must be empty: a clock is a sensor's, not a metric's",
    }


async def test_events_are_listed_and_chosen(api: Api) -> None:
    """The newest so many, of a rule or a sensor; a journal that does not answer is said."""
    api.fleet.journalled = [CLOUD_EVENT, CLOUD_EVENT | {"id": "cd.begin", "subject": "press-2/temperature"}]
    api.fleet.journalled[1]["data"] = CLOUD_EVENT["data"] | {"sensor": "press-2"}
    _, every = await api.call("GET", "/v1/events")
    assert every["events"][0] == CLOUD_EVENT
    _, chosen = await api.call("GET", "/v1/events?sensor=press-2&rule=hot&since=10m")
    assert [event["id"] for event in chosen["events"]] == ["cd.begin"]
    _, newest = await api.call("GET", "/v1/events?limit=1")
    assert [event["id"] for event in newest["events"]] == ["cd.begin"]
    assert (await api.call("GET", "/v1/events?rule=cold"))[1] == {"events": []}
    api.fleet.store_down = True
    response, problem = await api.call("GET", "/v1/events")
    assert (response.status, problem["type"]) == (503, "/problems/events-unavailable")
    response, problem = await api.call("PUT", "/v1/rules/hot", json=HOT)
    assert (response.status, problem["type"]) == (503, "/problems/store-unavailable")
