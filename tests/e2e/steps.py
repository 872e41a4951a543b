"""Steps of tests over a whole Gaugeway: sensors are added, and all they produced is proved to arrive."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from tests.e2e.evidence import (
    SIZES_MS,
    Warehouse,
    audit_problems,
    reading_problems,
    spooled,
    window_problems,
)
from tests.e2e.oracle import Reading, WindowKey
from tests.support.stack import ApiError, Stack, wait_for

NS_PER_S = 1_000_000_000
MINUTE_NS = 60 * NS_PER_S
LIVE_TIMEOUT_S = 30.0
SETTLE_TIMEOUT_S = 60.0

MACHINE_SPEED = 3000.0  # the recording's 5 minutes become 100 ms
AMBIENT_SPEED = 36_000.0  # its hour becomes 100 ms


class Store(Protocol):
    """Where rows arrive: the warehouse, BigQuery."""

    def readings(self, sensor_id: str) -> list[Reading]:
        """Return every row of the sensor."""
        ...

    def windows(self, sensors: list[str], until_unix_ns: int) -> Mapping[WindowKey, Mapping[str, Any]]:
        """Return the newest row of every window of `sensors` that ends by `until_unix_ns`."""
        ...


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


def next_end(now_unix_ns: int, size_ns: int = MINUTE_NS) -> int:
    """Return the end of the window of a size that `now_unix_ns` is in."""
    return (now_unix_ns // size_ns + 1) * size_ns


def wait_until_produced(stack: Stack, sensors: Sequence[str], until_unix_ns: int) -> dict[str, list[Reading]]:
    """Wait until every agent has spooled a reading at or after `until_unix_ns`; return what each holds."""
    patience = (until_unix_ns - time.time_ns()) / NS_PER_S + LIVE_TIMEOUT_S

    def probe() -> dict[str, list[Reading]] | None:
        produced = {sensor: spooled(stack, sensor) for sensor in sensors}
        done = all(rows and rows[-1].time_unix_ns >= until_unix_ns for rows in produced.values())
        return produced if done else None

    wait_for("the windows end", lambda: time.time_ns() >= until_unix_ns, MINUTE_NS / NS_PER_S + 1)
    return wait_for(f"agents reach {until_unix_ns}", probe, patience)


def assert_settles(what: str, problems: Callable[[], list[str]]) -> None:
    """Wait until `problems()` is empty; fail with what it says if it does not become so."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while (found := problems()) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not found, f"{what}: {len(found)} problems, first: {found[:5]}"


def prove(
    stack: Stack,
    sensors: Sequence[str],
    *,
    stores: Mapping[str, Store] | None = None,
    sizes_ms: Sequence[int] = SIZES_MS,
    earlier: Mapping[str, list[Reading]] | None = None,
) -> None:
    """Compare what arrived with what was produced, up to the end of the largest window that is open now.

    Every reading once, every window by an independent computation, and for every sensor
    received = aggregated + duplicate + quarantined + too_late + excluded, without gaps.

    Args:
        stack: What runs.
        sensors: Whose readings; agents that produce in real time.
        stores: Where the rows are, by name; by default the local warehouse.
        sizes_ms: Which windows are in the journal.
        earlier: What agents had produced that is no longer in their spools.
    """
    until = next_end(time.time_ns(), max(sizes_ms) * 1_000_000)
    produced = wait_until_produced(stack, sensors, until)
    for sensor, readings in (earlier or {}).items():
        produced[sensor] = list(dict.fromkeys([*readings, *produced[sensor]]))
    for name, store in (stores or {"warehouse": Warehouse(stack)}).items():
        for sensor in sensors:
            assert_settles(
                f"readings of {sensor} in {name}",
                lambda s=sensor, t=store: reading_problems(produced[s], t.readings(s), until),  # type: ignore[misc]
            )
        assert_settles(
            f"windows in {name}",
            lambda t=store: window_problems(produced, t.windows(list(sensors), until), until, sizes_ms),  # type: ignore[misc]
        )
    assert audit_problems(stack) == []
    audit = {row["sensor_id"]: row for row in stack.api("GET", "/v1/audit")["sensors"]}
    for sensor in sensors:
        row = audit[sensor]
        assert row["too_late"] == row["quarantined"] == row["undecodable_frames"] == row["gaps"] == 0, row
        assert row["excluded"] == 0, row
        assert row["aggregated"] >= sum(reading.time_unix_ns < until for reading in produced[sensor]), row
