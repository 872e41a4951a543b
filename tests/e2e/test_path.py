"""The whole path, from agents through Envoy to the rows that users query.

Real Envoy, real NATS, a real BigQuery emulator, agents as processes.
tests/faults does the same while processes die.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.evidence import Warehouse, reading_problems, spooled, window_problems
from tests.e2e.oracle import windows_of
from tests.e2e.steps import (
    AMBIENT_SPEED,
    LIVE_TIMEOUT_S,
    MACHINE_SPEED,
    MINUTE_NS,
    Store,
    add,
    assert_settles,
    is_gone,
    machine,
    prove,
    replay,
)
from tests.support.bigquery import BigQueryEmulator
from tests.support.stack import Stack, wait_for


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

    stores: dict[str, Store] = {"warehouse": Warehouse(stack), "BigQuery": bigquery_emulator}
    prove(stack, ["press-1", "press-2", "node-1"], stores=stores)

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
