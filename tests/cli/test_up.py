"""`gaugeway up` over its life: start, end, start again, and what it leaves behind."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.processes import alive, family
from tests.support.stack import Stack, wait_for

DEMO = ("--sensors", "2")


def running_family(stack: Stack) -> list[int]:
    """Return every process of a stack, agents included."""
    assert stack.process is not None
    return family(stack.process.pid)


@pytest.mark.timeout(240)
def test_a_second_run_goes_on_where_the_first_stopped(tmp_path: Path) -> None:
    """The same sensors, VMs and token; readings go on after those that there were; no process is left."""
    stack = Stack(tmp_path / "data", arguments=DEMO)
    stack.start()
    everyone = running_family(stack)
    assert len(everyone) == 1 + len(stack.info["pids"]) + 2
    first = {each["id"]: each for each in stack.api("GET", "/v1/sensors")["sensors"]}
    assert [each["status"] for each in first.values()] == ["live", "live"]
    token = (tmp_path / "data" / "token").read_text()
    assert (tmp_path / "data" / "token").stat().st_mode & 0o777 == 0o600
    received = {each["sensor_id"]: each["received"] for each in stack.api("GET", "/v1/audit")["sensors"]}
    assert stack.stop() == 0
    assert alive(everyone) == []
    assert not (tmp_path / "data" / "run" / "up.json").exists()

    stack.start()
    try:
        second = {each["id"]: each for each in stack.api("GET", "/v1/sensors")["sensors"]}
        assert {name: each["vm"]["vm_id"] for name, each in second.items()} == {
            name: each["vm"]["vm_id"] for name, each in first.items()
        }
        assert {each["revision"] for each in second.values()} == {each["revision"] for each in first.values()}
        assert (tmp_path / "data" / "token").read_text() == token
        assert "demo fleet: was added by an earlier run" in stack.log.read_text()

        def goes_on() -> bool:
            audit = {each["sensor_id"]: each for each in stack.api("GET", "/v1/audit")["sensors"]}
            assert all(each["gaps"] == 0 and each["duplicate"] == 0 for each in audit.values())
            return all(audit[name]["received"] > count for name, count in received.items())

        wait_for("readings go on", goes_on, 30)
    finally:
        assert stack.stop() == 0


@pytest.mark.timeout(240)
def test_a_demo_sensor_that_was_removed_stays_away(tmp_path: Path) -> None:
    """The next run adds only those that no run added yet, and waits for no other."""
    stack = Stack(tmp_path / "data", arguments=("--sensors", "1"))
    stack.start()
    (removed,) = [each["id"] for each in stack.api("GET", "/v1/sensors")["sensors"]]
    stack.api("DELETE", f"/v1/sensors/{removed}")
    wait_for("it is gone", lambda: not stack.api("GET", "/v1/sensors")["sensors"], 30)
    assert stack.stop() == 0
    stack.arguments = DEMO
    stack.start()
    try:
        (added,) = stack.api("GET", "/v1/sensors")["sensors"]
        assert added["id"] != removed
        assert added["status"] == "live"
        assert "not live yet" not in stack.log.read_text()
    finally:
        assert stack.stop() == 0


@pytest.mark.timeout(240)
def test_a_killed_supervisor_leaves_no_orphan(tmp_path: Path) -> None:
    """SIGKILL of `gaugeway up` ends every process; the next run waits for the last and starts."""
    stack = Stack(tmp_path / "data", arguments=DEMO)
    stack.start()
    everyone = running_family(stack)
    assert stack.process is not None
    stack.process.kill()
    stack.process.wait()
    stack.start()  # at once
    try:
        assert alive(everyone) == []
        assert {each["status"] for each in stack.api("GET", "/v1/sensors")["sensors"]} == {"live"}
    finally:
        assert stack.stop() == 0


@pytest.mark.timeout(120)
def test_a_process_that_keeps_dying_at_start_is_named_with_its_log(tmp_path: Path) -> None:
    """Another number of shards than the installation has: the control plane's own words are shown."""
    stack = Stack(tmp_path / "data")
    stack.start()
    assert stack.stop() == 0
    (tmp_path / "data" / "gaugeway.toml").write_text("shards = 3\n")
    with pytest.raises(AssertionError) as error:
        stack.start()
    assert stack.process is not None
    assert stack.process.returncode == 1
    told = str(error.value)
    assert "control-plane ended with exit code 1, 3 times in a row, and never served; its log is " in told
    assert "shards" in told
    assert alive(stack.info["pids"].values()) == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_it_ends_in_order_by_any_signal_also_while_it_starts(tmp_path: Path, number: signal.Signals) -> None:
    """Exit code 0 and nothing left, however far it had come."""
    stack = Stack(tmp_path / "data")
    stack.begin()
    assert stack.process is not None
    log = stack.log
    wait_for("it has begun", lambda: "serves after" in log.read_text(), 30)
    everyone = running_family(stack)
    stack.process.send_signal(number)
    assert stack.process.wait(40) == 0
    assert "ended; the data stays in" in log.read_text()
    assert alive(everyone) == []
