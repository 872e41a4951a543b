"""Agents lose power, and records of their spools are torn: nothing lost, nothing twice."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.evidence import spooled
from tests.e2e.steps import MACHINE_SPEED, add, prove, replay
from tests.faults.hands import (
    SIZES_MS,
    agent,
    counts,
    end,
    flows,
    spool,
    stopped,
)
from tests.faults.power_loss import lose_power
from tests.support.stack import Stack

pytestmark = pytest.mark.timeout(240)

POWERLESS, TORN, WORN = SENSORS = ["press-1", "press-2", "press-3"]
FAST = MACHINE_SPEED * 5  # a reading every 20 ms
TORN_RECORDS = (b"\x40", b"\x40\x01\x00\x00\x12\x34\x56\x78 half a rec", bytes(512))


def add_all(stack: Stack) -> None:
    """Add replays; one flushes so often that a write is nearly always under way."""
    bodies = {name: replay(name, "machine_temperature", FAST) for name in SENSORS}
    bodies[POWERLESS]["flush_ms"] = 20
    add(stack, *bodies.values())


def epochs(stack: Stack) -> dict[str, str]:
    """Return the epoch of every sensor's spool."""
    return {name: spooled(stack, name)[-1].epoch for name in SENSORS}


def newest_segment(stack: Stack, sensor_id: str) -> Path:
    """Return the file that a sensor's agent appends to."""
    return max(spool(stack, sensor_id).glob("*.seg"))


@contextmanager
def stopped_when_all_is_served(stack: Stack, sensor_id: str) -> Iterator[int]:
    """Stop a sensor's agent when the journal has all that it wrote, down to the last block."""
    pid = agent(stack, sensor_id)
    for _ in range(50):
        with stopped(pid):
            deadline = time.monotonic() + 2.0
            while time.monotonic() < deadline:  # a block that is written but not fsynced is not served
                now = counts(stack)
                if now is not None and now[sensor_id]["aggregated"] >= len(spooled(stack, sensor_id)):
                    yield pid
                    return
    raise AssertionError(f"the journal never has all of {sensor_id}")


def test_power_losses_and_torn_records(stack: Stack) -> None:
    """What was not fsynced goes with the power, was never served, and so its numbers are free.

    A record that was torn while it was written is cut off. One that was served and is then
    torn by its medium begins a new epoch, for its numbers mean something already.
    """
    add_all(stack)
    flows(stack, SENSORS, 50)
    before = epochs(stack)
    lab_host = stack.pids()["lab-host"]

    lost = 0
    for record in TORN_RECORDS:
        pids = agent(stack, POWERLESS), agent(stack, TORN)
        with stopped(lab_host):
            for pid in pids:
                end(pid)
            lost += lose_power(spool(stack, POWERLESS))
            with newest_segment(stack, TORN).open("ab") as segment:
                segment.write(record)
        flows(stack, SENSORS)
    assert lost > 0, "no write was under way at any of the losses"

    with stopped_when_all_is_served(stack, WORN) as pid, stopped(lab_host):
        served = spooled(stack, WORN)
        end(pid)
        path = newest_segment(stack, WORN)
        os.truncate(path, path.stat().st_size - 7)
    flows(stack, SENSORS)
    after = epochs(stack)
    assert [name for name in SENSORS if after[name] != before[name]] == [WORN]

    prove(stack, SENSORS, sizes_ms=SIZES_MS, earlier={WORN: served})
