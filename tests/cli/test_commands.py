"""Commands against an API that answers what the test says: output, errors, exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gaugeway.__main__ import main
from tests.cli.api_double import ApiDouble, api_double


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiDouble]:
    """An API that commands find by environment."""
    token = tmp_path / "token"
    token.write_text("secret\n")
    with api_double() as double:
        monkeypatch.setenv("GAUGEWAY_URL", double.url)
        monkeypatch.setenv("GAUGEWAY_TOKEN_FILE", str(token))
        monkeypatch.chdir(tmp_path)
        yield double


def sensor(status: str, message: str = "") -> dict[str, Any]:
    """Return a sensor as the API shows it."""
    return {
        "id": "press-1",
        "host": "lab",
        "site": "hall-1",
        "metrics": [{"name": "temperature", "unit": "[degF]"}],
        "status": status,
        "message": message,
        "stream": None,
        "endpoint": {"address": "127.20.0.1", "port": 7070},
    }


def problem(status: int, detail: str) -> tuple[int, dict[str, Any]]:
    """Return a problem as the API answers it."""
    return status, {"type": "/problems/x", "title": "Refused", "status": status, "detail": detail}


def test_add_waits_until_the_sensor_is_live(api: ApiDouble, capsys: pytest.CaptureFixture[str]) -> None:
    """The body is what the API takes, with a token and an idempotency key; the last state is printed."""
    api.answers["POST /v1/sensors"] = [(201, sensor("pending", "waits for its VM"))]
    api.answers["GET /v1/sensors/press-1"] = [(200, sensor("pending")), (200, sensor("live", "streams"))]
    assert main(["sensors", "add", "press-1", "--replay", "machine_temperature", "--speed", "60"]) == 0
    assert capsys.readouterr().out == "press-1 is live: streams\n"
    asked = api.asked[0]
    assert asked.body == {
        "id": "press-1",
        "host": "lab",
        "site": "default",
        "metrics": [{"name": "temperature", "unit": "[degF]"}],
        "source": {"kind": "replay", "recording": "machine_temperature", "speed": 60.0},
        "flush_ms": 200,
    }
    assert asked.headers["Authorization"] == "Bearer secret"
    assert asked.headers["Idempotency-Key"]
    assert len(api.asked) == 3


def test_add_says_what_a_sensor_waits_for(api: ApiDouble, capsys: pytest.CaptureFixture[str]) -> None:
    """Not live in time is exit code 1, and the sentence has status and message."""
    api.answers["POST /v1/sensors"] = [(201, sensor("pending"))]
    api.answers["GET /v1/sensors/press-1"] = [(200, sensor("unreachable", "the host lab does not answer"))]
    assert main(["sensors", "add", "press-1", "--metric", "cpu_load", "--timeout", "100ms"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "not live after 0.1 s: unreachable, the host lab does not answer" in told.err


def test_add_without_waiting_prints_json(api: ApiDouble, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` is one document on stdout and nothing else."""
    api.answers["POST /v1/sensors"] = [(201, sensor("pending"))]
    assert main(["sensors", "add", "press-1", "--metric", "memory_used", "--no-wait", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["status"] == "pending"
    assert told.err == ""
    assert api.asked[0].body["metrics"] == [{"name": "memory_used", "unit": "%"}]
    assert len(api.asked) == 1


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (problem(409, "a sensor press-1 exists already"), 4),
        (problem(422, "id must be a DNS label"), 4),
        (problem(401, "the token is not valid"), 5),
        (problem(404, "there is no sensor press-1"), 3),
        (problem(503, "the store does not answer"), 1),
        ((500, b"<html>"), 1),
        ((200, b"<html>"), 5),
    ],
)
def test_errors_are_a_sentence_on_stderr_and_an_exit_code(
    api: ApiDouble, capsys: pytest.CaptureFixture[str], answer: tuple[int, Any], code: int
) -> None:
    """The API's own sentence, if it has one."""
    api.answers["GET /v1/sensors/press-1"] = [answer]
    assert main(["sensors", "show", "press-1", "--json"]) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("gaugeway: ")
    if isinstance(answer[1], dict):
        assert answer[1]["detail"] in told.err


def test_remove_waits_until_the_sensor_is_gone(api: ApiDouble, capsys: pytest.CaptureFixture[str]) -> None:
    """Gone is when the API knows it no more."""
    api.answers["DELETE /v1/sensors/press-1"] = [(202, sensor("removing"))]
    api.answers["GET /v1/sensors/press-1"] = [(200, sensor("removing")), problem(404, "gone")]
    assert main(["sensors", "remove", "press-1"]) == 0
    assert capsys.readouterr().out == "press-1 is removed\n"


def test_list_is_a_table_for_people(api: ApiDouble, capsys: pytest.CaptureFixture[str]) -> None:
    """One line a sensor, also where the line is long."""
    api.answers["GET /v1/sensors"] = [(200, {"sensors": [sensor("live", "x" * 100)]})]
    assert main(["sensors", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["SENSOR", "SITE", "HOST", "METRICS", "STATUS", "READINGS/S", "MESSAGE"]
    assert lines[1].split() == ["press-1", "hall-1", "lab", "temperature", "live", "x" * 100]
    api.answers["GET /v1/sensors"] = [(200, {"sensors": []})]
    assert main(["sensors", "list"]) == 0
    assert "gaugeway sensors add" in capsys.readouterr().out


def test_windows_are_a_table_and_a_line(api: ApiDouble, capsys: pytest.CaptureFixture[str]) -> None:
    """The query is the API's; means are drawn."""
    rows = [
        {
            "window_start": f"2026-01-01T00:00:{second:02}Z",
            "metric": "temperature",
            "unit": "[degF]",
            "count": 10,
            "revision": 0,
            "mean": float(second),
            **dict.fromkeys(("min", "max", "p50", "p95", "p99"), 1.0),
            "stddev": None,
        }
        for second in (0, 10, 20)
    ]
    api.answers["GET /v1/sensors/press-1/windows"] = [(200, {"windows": rows})]
    assert main(["windows", "press-1", "temperature", "--since", "1h", "--limit", "3"]) == 0
    told = capsys.readouterr().out
    assert "temperature in [degF], means 0 to 20\n▁▅█\n" in told
    assert api.asked[0].path.endswith("/windows?metric=temperature&size=10s&since=1h&limit=3")
    assert main(["windows", "press-1", "temperature", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["windows"] == rows


def test_an_id_cannot_leave_its_place_in_the_path(api: ApiDouble) -> None:
    """Whatever is typed is one segment."""
    assert main(["sensors", "show", "../hosts?x"]) == 3
    assert api.asked[0].path == "/v1/sensors/..%2Fhosts%3Fx"


@pytest.mark.parametrize(
    "arguments",
    [
        ["sensors", "add"],
        ["sensors", "add", "a", "--replay", "nothing"],
        ["sensors", "add", "a", "--metric", "nothing"],
        ["sensors", "add", "a", "--replay", "machine_temperature", "--metric", "cpu_load"],
        ["sensors", "add", "a", "--timeout", "10"],
        ["windows", "a", "b", "--size", "ten"],
        ["nothing"],
        ["up", "--api-port", "70000"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The message is on stderr."""
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err


def test_without_a_gaugeway_the_error_says_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing in the working directory, nothing in the environment."""
    monkeypatch.delenv("GAUGEWAY_URL", raising=False)
    monkeypatch.delenv("GAUGEWAY_TOKEN_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["status"]) == 5
    told = capsys.readouterr().err
    assert "no Gaugeway runs here" in told
    assert "gaugeway up" in told


def test_an_api_that_does_not_answer_is_exit_code_5(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sentence has its URL."""
    (tmp_path / "token").write_text("x")
    arguments = ["status", "--api-url", "http://127.0.0.1:1", "--token-file", str(tmp_path / "token")]
    assert main(arguments) == 5
    assert "no API answers at http://127.0.0.1:1" in capsys.readouterr().err


def test_the_data_directory_tells_where_the_api_is(
    api: ApiDouble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A named data directory goes before the environment."""
    run = tmp_path / "data" / "run"
    run.mkdir(parents=True)
    (tmp_path / "data-token").write_text("of-the-data-directory")
    up = {"api_url": api.url, "token_file": str(tmp_path / "data-token")}
    (run / "up.json").write_text(json.dumps(up))
    api.answers["GET /v1/hosts"] = [(200, {"hosts": []})]
    assert main(["hosts", "list", "--data-dir", str(tmp_path / "data")]) == 0
    assert capsys.readouterr().out == "There are no hosts.\n"
    assert api.asked[0].headers["Authorization"] == "Bearer of-the-data-directory"


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The help of the whole lists commands and exit codes."""
    assert main(["version"]) == 0
    assert capsys.readouterr().out == "0.1.0\n"
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(word in told for word in ("up", "sensors", "windows", "audit", "status", "Exit codes"))
