"""Rules on the whole path: set while a sensor streams, seen in the journal, ended, and never told twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from typing import Any

from tests.support.stack import Stack, wait_for

WAIT_S = 40.0
PRESS = {
    "id": "press-1",
    "host": "lab",
    "site": "hall-3",
    "metrics": [{"name": "temperature", "unit": "[degF]"}],
    "source": {"kind": "replay", "recording": "machine_temperature", "speed": 9000.0},
}


def gaugeway(stack: Stack, *arguments: str) -> Any:
    """Run a command with `--json`; return what it prints."""
    command = [sys.executable, "-m", "gaugeway", *arguments, "--json", "--data-dir", str(stack.data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def events(stack: Stack, rule: str, what: str) -> list[dict[str, Any]]:
    """Return the beginnings or the ends of a rule's events, by the API."""
    found = stack.api("GET", f"/v1/events?rule={rule}&limit=1000")["events"]
    return [event for event in found if event["type"] == f"gaugeway.event.{what}"]


def test_rules_are_set_changed_and_removed_while_a_sensor_streams(stack: Stack) -> None:
    """Set by API and command line, begun and ended in the journal, once each, also over a worker's death."""
    stack.api("POST", "/v1/sensors", PRESS)
    wait_for("press-1 is live", lambda: stack.api("GET", "/v1/sensors/press-1")["status"] == "live", WAIT_S)
    hot = {"condition": {"kind": "threshold", "side": "above", "level": 85, "clear": 80}}
    stack.api("PUT", "/v1/rules/hot", hot | {"selection": {"sensors": ["press-*"]}})
    always = gaugeway(stack, "rules", "set", "always", "threshold", "--above", "-1000", "--site", "hall-?")

    [began] = wait_for("always begins", lambda: events(stack, "always", "begin") or None, WAIT_S)
    assert began["specversion"] == "1.0"
    assert (began["source"], began["subject"]) == ("/v1/rules/always", "press-1/temperature")
    data = began["data"]
    assert (data["revision"], data["sensor"], data["unit"]) == (always["revision"], "press-1", "[degF]")
    assert gaugeway(stack, "events", "--rule", "always")["events"] == [began]
    wait_for("hot begins and ends", lambda: events(stack, "hot", "end") or None, WAIT_S)
    assert events(stack, "hot", "end")[0]["data"]["reason"] == "cleared"

    worker = stack.pids()["worker"]
    os.kill(worker, signal.SIGKILL)
    wait_for("another worker", lambda: stack.pids()["worker"] != worker, WAIT_S)
    told = len(events(stack, "hot", "end"))
    wait_for("hot ends again", lambda: len(events(stack, "hot", "end")) > told, WAIT_S)
    assert events(stack, "always", "begin") == [began], "it is open still, and was not begun again"

    changed = gaugeway(
        stack, "rules", "set", "always", "threshold", "--above=-2000", f"--revision={always['revision']}"
    )
    assert changed["revision"] > always["revision"]
    wait_for("always begins anew", lambda: len(events(stack, "always", "begin")) == 2, WAIT_S)
    [ended] = events(stack, "always", "end")
    assert (ended["data"]["event"], ended["data"]["reason"]) == (data["event"], "rule_changed")
    assert gaugeway(stack, "rules", "remove", "always")["id"] == "always"
    wait_for("always ends", lambda: len(events(stack, "always", "end")) == 2, WAIT_S)
    assert events(stack, "always", "end")[-1]["data"]["reason"] == "rule_removed"

    every = stack.api("GET", "/v1/events?limit=1000")["events"]
    assert max(Counter(event["id"] for event in every).values()) == 1
    hot_events = [event["type"].rpartition(".")[2] for event in every if event["data"]["rule"] == "hot"]
    assert hot_events == ["begin", "end"] * (len(hot_events) // 2) + ["begin"] * (len(hot_events) % 2)


def test_a_sensor_that_goes_silent_is_noticed_and_noticed_to_be_back(stack: Stack) -> None:
    """Missing data, by the journal's ticks: its agent is stopped, then goes on."""
    stack.api("POST", "/v1/sensors", PRESS)
    stack.api("PUT", "/v1/rules/silent", {"condition": {"kind": "missing", "for_ms": 1500}})
    wait_for("press-1 is live", lambda: stack.api("GET", "/v1/sensors/press-1")["status"] == "live", WAIT_S)
    agents = agents_of(stack)
    try:
        for pid in agents:
            os.kill(pid, signal.SIGSTOP)
        [began] = wait_for("it is missing", lambda: events(stack, "silent", "begin") or None, WAIT_S)
    finally:
        for pid in agents:
            os.kill(pid, signal.SIGCONT)
    [ended] = wait_for("it is back", lambda: events(stack, "silent", "end") or None, WAIT_S)
    assert ended["data"]["event"] == began["data"]["event"]
    assert began["data"]["value"] is None


def agents_of(stack: Stack) -> list[int]:
    """Return the processes of the lab's agents."""
    import psutil  # noqa: PLC0415 - beside its only use

    lab = psutil.Process(stack.pids()["lab-host"])
    return [child.pid for child in lab.children(recursive=True)]
