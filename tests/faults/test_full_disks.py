"""A disk is full: of the journal, then of the agents. When there is room again, all goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from gaugeway.supervisor.installation import NODE_ID
from tests.e2e.steps import MACHINE_SPEED, add, machine, prove, replay
from tests.faults.disks import SmallDisk, small_disk
from tests.faults.hands import PATIENCE_S, SIZES_MS, flows, kill, short_windows
from tests.support.stack import ApiError, Stack, wait_for

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.slow,  # a file system is made, and an agent that cannot write is tried again ever later
]

SENSORS = ["press-1", "press-2", "node-1"]


@contextmanager
def stack_with(tmp_path: Path, part: str) -> Iterator[tuple[Stack, SmallDisk]]:
    """Return a running Gaugeway with sensors, whose folder `part` is a disk of its own."""
    stack = Stack(tmp_path / "data")
    with small_disk(tmp_path / "disk.img", stack.data_dir / part) as disk:
        stack.start()
        try:
            short_windows(stack)
            add(
                stack,
                replay("press-1", "machine_temperature", MACHINE_SPEED * 50),
                replay("press-2", "machine_temperature", MACHINE_SPEED),
                machine("node-1"),
            )
            flows(stack, SENSORS)
            yield stack, disk
        finally:
            stack.stop()


def complaint(stack: Stack) -> str | None:
    """Return what the worker says is wrong, None while it is content or nothing is known of it."""
    try:
        said = stack.api("GET", f"/v1/nodes/worker/{NODE_ID}")["worker"]
    except (ApiError, OSError):
        return None
    return said["message"] if said is not None and said["state"] == "paused" else None


def test_the_disk_of_the_journal_is_full(tmp_path: Path) -> None:
    """The worker stops reading and says why; the spools absorb it, and nothing is lost.

    JetStream refuses a stream whose write once failed until the server is started again, room or not.
    """
    with stack_with(tmp_path, "nats") as (stack, disk):
        for _ in range(2):
            disk.fill()
            said = wait_for("the worker says so", partial(complaint, stack), PATIENCE_S)
            assert "takes no appends" in said
            disk.empty()
            kill(stack, "nats")
            flows(stack, SENSORS)
        prove(stack, SENSORS, sizes_ms=SIZES_MS)


def test_the_disk_of_the_agents_is_full(tmp_path: Path) -> None:
    """Agents that cannot write die and are tried again; what they did write is all there."""
    with stack_with(tmp_path, "lab") as (stack, disk):
        for _ in range(2):
            disk.fill()
            wait_for(
                "an agent fails",
                lambda: any(vm["state"] == "failed" for vm in stack.lab("GET", "/vms")["vms"]),
                PATIENCE_S,
            )
            disk.empty()
            flows(stack, SENSORS)
        prove(stack, SENSORS, sizes_ms=SIZES_MS)
