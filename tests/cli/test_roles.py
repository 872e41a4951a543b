"""`gaugeway run`: how a role starts, ends and fails. The lab host stands for all of them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.support.stack import wait_for


def run(role: str, config: str, *more: str, given: str | None = None) -> subprocess.Popen[str]:
    """Start a role."""
    return subprocess.Popen(
        [sys.executable, "-m", "gaugeway", "run", role, "--config", config, *more],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_role_serves_and_ends_in_order_on_sigterm(tmp_path: Path) -> None:
    """The ready file has its pid and what it says; logs are JSON lines; the exit code is 0."""
    config, ready = tmp_path / "lab.json", tmp_path / "ready.json"
    config.write_text(json.dumps({"host_id": "lab", "data_dir": str(tmp_path / "lab")}))
    process = run("lab-host", str(config), "--ready-file", str(ready))
    try:
        wait_for("it serves", ready.exists, 30)
        info = json.loads(ready.read_text())
        assert info["pid"] == process.pid
        with urllib.request.urlopen(info["url"] + "/vms", timeout=5) as answer:
            assert json.loads(answer.read())["vms"] == []
        process.send_signal(signal.SIGTERM)
        _, logged = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    events = [json.loads(line) for line in logged.splitlines()]
    assert [event["event"] for event in events] == ["ready", "ending", "ended"]
    assert all(event["process"] == "lab-host" and event["level"] == "info" for event in events)


def test_a_bad_configuration_is_exit_code_2(tmp_path: Path) -> None:
    """From a file or from stdin; the log names the field."""
    for config, given in ((str(tmp_path / "missing"), None), ("-", '{"hostid": "lab"}'), ("-", "{")):
        process = run("lab-host", config)
        _, logged = process.communicate(given, timeout=30)
        assert process.returncode == 2
        event = json.loads(logged.splitlines()[-1])
        assert event["event"] == "bad_configuration"
        if given == '{"hostid": "lab"}':
            assert "hostid" in event["reason"]


def test_a_crash_is_exit_code_1_and_in_the_log(tmp_path: Path) -> None:
    """The traceback is a field of the log's last line, without the values of variables: some are secrets."""
    (tmp_path / "file").write_text("")
    process = run("lab-host", "-")
    config = {"host_id": "lab", "data_dir": str(tmp_path / "lab"), "port": 1 << 20}
    _, logged = process.communicate(json.dumps(config), timeout=30)
    assert process.returncode == 1
    event = json.loads(logged.splitlines()[-1])
    assert event["event"] == "crashed"
    frames = event["exception"][0]["frames"]
    assert frames
    assert not any("locals" in frame for frame in frames)


def test_an_unknown_role_is_wrong_usage() -> None:
    """The message lists the roles."""
    process = run("nothing", "-")
    _, said = process.communicate("", timeout=30)
    assert process.returncode == 2
    assert "lab-host" in said
