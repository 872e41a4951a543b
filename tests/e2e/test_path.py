"""The whole path, from agents through Envoy to the rows that users query.

Real Envoy, real NATS, a real BigQuery emulator, agents as processes.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.evidence import (
    Warehouse,
    audit_problems,
    reading_problems,
    spooled,
    window_problems,
)
from tests.e2e.oracle import Reading, windows_of
from tests.support.bigquery import BigQueryEmulator
from tests.support.stack import ApiError, Stack, wait_for

NS_PER_S = 1_000_000_000
MINUTE_NS = 60 * NS_PER_S
LIVE_TIMEOUT_S = 30.0
SETTLE_TIMEOUT_S = 60.0

MACHINE_SPEED = 3000.0  # the recording's 5 minutes become 100 ms
AMBIENT_SPEED = 36_000.0  # its hour becomes 100 ms


def replay(sensor_id: str, recording: str, speed: float) -> dict[str, Any]:
    """Return the API's body for a sensor that replays a recording."""
    return {
        "id": sensor_id,
        "host": "lab",
        "site": "hall-3",
        "metrics": [{"name": "temperature", "unit": "[degF]"}],
        "source": {"kind": "replay", "recording": recording, "speed": speed},
    }


def machine(sensor_id: str) -> dict[str, Any]:
    """Return the API's body for a sensor with three metrics of this machine."""
    return {
        "id": sensor_id,
        "host": "lab",
        "site": "office",
        "metrics": [
            {"name": "cpu_load", "unit": "%"},
            {"name": "memory_used", "unit": "%"},
            {"name": "net_receive", "unit": "By/s"},
        ],
        "source": {"kind": "machine", "interval_ms": 250},
    }


@pytest.fixture
def stack(tmp_path: Path, bigquery_emulator: BigQueryEmulator) -> Iterator[Stack]:
    """A running Gaugeway without a demo fleet, its BigQuery sink on the emulator."""
    config = tmp_path / "gaugeway.toml"
    config.write_text(bigquery_emulator.gaugeway_toml(readings=True, window_sizes_ms=(10_000, 60_000)))
    stack = Stack(tmp_path / "data", arguments=("--no-demo", "--config", str(config)))
    stack.start()
    try:
        yield stack
    finally:
        stack.stop()


def status_of(stack: Stack, sensor_id: str) -> str:
    """Return the API's one word for a sensor."""
    return str(stack.api("GET", f"/v1/sensors/{sensor_id}")["status"])


def add(stack: Stack, *bodies: dict[str, Any]) -> None:
    """Add sensors by the API and wait until each is live."""
    for body in bodies:
        stack.api("POST", "/v1/sensors", body)
    for body in bodies:
        wait_for(f"{body['id']} is live", partial(is_live, stack, body["id"]), LIVE_TIMEOUT_S)


def is_live(stack: Stack, sensor_id: str) -> bool:
    """Say whether the API calls the sensor live."""
    return status_of(stack, sensor_id) == "live"


def is_gone(stack: Stack, sensor_id: str) -> bool:
    """Say whether the API knows the sensor no more."""
    try:
        stack.api("GET", f"/v1/sensors/{sensor_id}")
    except ApiError as error:
        if error.status == 404:
            return True
        raise
    return False


def next_minute(now_unix_ns: int) -> int:
    """Return the start of the minute after `now_unix_ns`."""
    return (now_unix_ns // MINUTE_NS + 1) * MINUTE_NS


def wait_until_produced(stack: Stack, sensors: list[str], until_unix_ns: int) -> dict[str, list[Reading]]:
    """Wait until every agent has spooled a reading at or after `until_unix_ns`; return what each holds."""
    patience = (until_unix_ns - time.time_ns()) / NS_PER_S + LIVE_TIMEOUT_S

    def probe() -> dict[str, list[Reading]] | None:
        produced = {sensor: spooled(stack, sensor) for sensor in sensors}
        done = all(rows and rows[-1].time_unix_ns >= until_unix_ns for rows in produced.values())
        return produced if done else None

    wait_for("the minute ends", lambda: time.time_ns() >= until_unix_ns, MINUTE_NS / NS_PER_S + 1)
    return wait_for(f"agents reach {until_unix_ns}", probe, patience)


def assert_settles(what: str, problems: Any) -> None:
    """Wait until `problems()` is empty; fail with what it says if it does not become so."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while (found := problems()) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not found, f"{what}: {len(found)} problems, first: {found[:5]}"


def check_everything(stack: Stack, bigquery: BigQueryEmulator, sensors: list[str]) -> None:
    """Compare warehouse and BigQuery with what the agents produced, up to the end of this minute."""
    until = next_minute(time.time_ns())
    produced = wait_until_produced(stack, sensors, until)
    warehouse = Warehouse(stack)
    for name, store in (("warehouse", warehouse), ("BigQuery", bigquery)):
        for sensor in sensors:
            assert_settles(
                f"readings of {sensor} in {name}",
                lambda s=sensor, t=store: reading_problems(produced[s], t.readings(s), until),
            )
        assert_settles(
            f"windows in {name}",
            lambda t=store: window_problems(produced, t.windows(sensors, until), until),
        )
    assert audit_problems(stack) == []
    for row in stack.api("GET", "/v1/audit")["sensors"]:
        assert row["too_late"] == row["quarantined"] == row["undecodable_frames"] == row["gaps"] == 0, row


@pytest.mark.timeout(300)
def test_readings_become_exact_rows(stack: Stack, bigquery_emulator: BigQueryEmulator) -> None:
    """Add three sensors, remove one, add one, move one while streaming: every row is right."""
    add(
        stack,
        replay("press-1", "machine_temperature", MACHINE_SPEED),
        replay("office-1", "ambient_temperature", AMBIENT_SPEED),
        machine("node-1"),
    )
    before_removal = spooled(stack, "office-1")
    stack.api("DELETE", "/v1/sensors/office-1")
    wait_for("office-1 is gone", lambda: is_gone(stack, "office-1"), LIVE_TIMEOUT_S)
    assert "office-1" not in [vm["sensor_id"] for vm in stack.lab("GET", "/vms")["vms"]]

    add(stack, replay("press-2", "machine_temperature", MACHINE_SPEED))

    old = stack.api("GET", "/v1/sensors/press-1")["endpoint"]
    pid = {vm["sensor_id"]: vm["pid"] for vm in stack.lab("GET", "/vms")["vms"]}["press-1"]
    moved = stack.lab("POST", "/vms/press-1/move", {})["endpoint"]
    assert moved["address"] != old["address"]

    def streams_from_new_address() -> bool:
        sensor = stack.api("GET", "/v1/sensors/press-1")
        version = f"{moved['address']}:{moved['port']}"
        return bool(sensor["status"] == "live" and sensor["stream"]["endpoint_version"] == version)

    wait_for("press-1 streams from its new address", streams_from_new_address, LIVE_TIMEOUT_S)
    assert pid == {vm["sensor_id"]: vm["pid"] for vm in stack.lab("GET", "/vms")["vms"]}["press-1"]

    check_everything(stack, bigquery_emulator, ["press-1", "press-2", "node-1"])

    removed = Warehouse(stack).readings("office-1")
    assert sorted(reading.seq for reading in removed) == list(range(1, len(removed) + 1))
    until = before_removal[-1].time_unix_ns + 1
    assert reading_problems(before_removal, [r for r in removed if r.time_unix_ns < until], until) == []
    last = max(reading.time_unix_ns for reading in removed)
    assert windows_of(removed, 10_000, last + MINUTE_NS), "the removed sensor had windows"
    assert_settles(
        "windows of the removed sensor",
        lambda: window_problems(
            {"office-1": removed}, Warehouse(stack).windows(["office-1"], last + MINUTE_NS), last + MINUTE_NS
        ),
    )


@pytest.mark.timeout(360)
def test_nothing_is_lost_or_doubled_when_processes_are_killed(
    stack: Stack, bigquery_emulator: BigQueryEmulator
) -> None:
    """Worker, NATS and an agent die by SIGKILL in turn: nothing lost, nothing twice."""
    sensors = ["press-1", "office-1", "node-1"]
    add(
        stack,
        replay("press-1", "machine_temperature", MACHINE_SPEED),
        replay("office-1", "ambient_temperature", AMBIENT_SPEED),
        machine("node-1"),
    )

    def received() -> dict[str, int] | None:
        try:
            return {row["sensor_id"]: row["received"] for row in stack.api("GET", "/v1/audit")["sensors"]}
        except ApiError as error:
            if error.status == 503:
                return None
            raise

    def flows_again(before: dict[str, int]) -> bool:
        now = received()
        return now is not None and all(now.get(sensor, 0) > before.get(sensor, 0) + 5 for sensor in sensors)

    def pid_of(name: str) -> int | None:
        if name != "agent":
            return stack.pids().get(name)
        pid: int | None = stack.lab("GET", "/vms/press-1")["pid"]
        return pid

    def is_another(name: str, before: int) -> bool:
        now = pid_of(name)
        return now is not None and now != before

    for name in ("worker", "nats", "agent"):
        before = wait_for("the audit answers", received, LIVE_TIMEOUT_S)
        pid = pid_of(name)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_for(f"{name} is another process", partial(is_another, name, pid), LIVE_TIMEOUT_S)
        wait_for(f"readings flow after {name} was killed", partial(flows_again, before), LIVE_TIMEOUT_S)

    check_everything(stack, bigquery_emulator, sensors)
