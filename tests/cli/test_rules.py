"""`gaugeway rules` and `gaugeway events`: what they ask the API, and what they print."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gaugeway.__main__ import main
from tests.api.test_rules import CLOUD_EVENT
from tests.cli.api_double import ApiDouble
from tests.cli.test_commands import api

__all__ = ["api"]

HOT: dict[str, Any] = {
    "id": "hot",
    "revision": 7,
    "selection": {"sensors": ["press-*"], "sites": [], "metrics": ["temperature"]},
    "condition": {"kind": "threshold", "side": "above", "level": 80.0, "clear": 75.0, "for_ms": 10_000},
}


@pytest.mark.parametrize(
    ("arguments", "condition"),
    [
        (
            ["threshold", "--above", "80", "--clear", "75", "--for", "10s"],
            {"kind": "threshold", "side": "above", "level": 80, "clear": 75, "for_ms": 10_000},
        ),
        (["threshold", "--below=-3"], {"kind": "threshold", "side": "below", "level": -3}),
        (
            ["rate", "--per-s", "2", "--direction", "rise", "--span", "5s"],
            {"kind": "rate", "per_s": 2, "direction": "rise", "span_ms": 5_000},
        ),
        (
            ["flatline", "--epsilon", "0.1", "--for", "5m"],
            {"kind": "flatline", "epsilon": 0.1, "for_ms": 300_000},
        ),
        (["missing", "--for", "30s"], {"kind": "missing", "for_ms": 30_000}),
        (["clock_skew", "--behind", "1h"], {"kind": "clock_skew", "behind_ms": 3_600_000}),
    ],
)
def test_a_rule_is_set(api: ApiDouble, arguments: list[str], condition: dict[str, Any]) -> None:
    """Only what was said is sent; the API knows the rest."""
    api.answers["PUT /v1/rules/hot"] = [(200, HOT)]
    assert main(["rules", "set", "hot", *arguments, "--sensor", "press-*", "--sensor", "b"]) == 0
    [asked] = api.asked
    selection = {"sensors": ["press-*", "b"], "sites": [], "metrics": []}
    assert asked.body == {"selection": selection, "condition": condition}
    assert "If-Match" not in asked.headers


def test_conditions_are_passed_on(api: ApiDouble) -> None:
    """A revision is a condition; 0: there must be none."""
    api.answers["PUT /v1/rules/hot"] = api.answers["DELETE /v1/rules/hot"] = [(200, HOT)]
    assert main(["rules", "set", "hot", "missing", "--for", "1s", "--revision", "7"]) == 0
    assert main(["rules", "set", "hot", "missing", "--for", "1s", "--revision", "0"]) == 0
    assert main(["rules", "remove", "hot", "--revision", "7"]) == 0
    conditions = [
        {name: value for name, value in asked.headers.items() if name.lower().startswith("if-")}
        for asked in api.asked
    ]
    assert [{name.lower(): value for name, value in each.items()} for each in conditions] == [
        {"if-match": '"7"'},
        {"if-none-match": "*"},
        {"if-match": '"7"'},
    ]


def test_rules_are_listed_and_shown(api: ApiDouble, capsys: pytest.CaptureFixture[str]) -> None:
    """For people and as JSON."""
    api.answers["GET /v1/rules"] = [(200, {"rules": [HOT]})]
    api.answers["GET /v1/rules/hot"] = [(200, HOT)]
    assert main(["rules", "list"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["RULE", "KIND", "CONDITION"]
    assert "side above, level 80, clear 75, for_ms 10000" in row
    assert main(["rules", "show", "hot"]) == 0
    assert "press-*" in capsys.readouterr().out
    assert main(["rules", "show", "hot", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == HOT
    assert main(["rules", "show", "cold"]) == 3


def test_wrong_usage_asks_nothing(api: ApiDouble, capsys: pytest.CaptureFixture[str]) -> None:
    """Both sides at once, an unknown kind, a duration that is none."""
    for wrong in (["threshold", "--above", "1", "--below", "0"], ["anomaly"], ["missing", "--for", "soon"]):
        assert main(["rules", "set", "hot", *wrong]) == 2
    assert api.asked == []
    capsys.readouterr()


def test_events_are_shown(api: ApiDouble, capsys: pytest.CaptureFixture[str]) -> None:
    """A row each, or the API's document; what is chosen is asked of the API."""
    api.answers["GET /v1/events"] = [(200, {"events": [CLOUD_EVENT]})]
    assert main(["events", "--rule", "hot", "--since", "10m"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["TIME", "RULE", "KIND"]
    assert row.split()[:4] == ["2026-01-31T12:00:00.000000001Z", "begin", "hot", "threshold"]
    assert api.asked[0].path == "/v1/events?rule=hot&since=10m&limit=100"
    assert main(["events", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["events"] == [CLOUD_EVENT]
