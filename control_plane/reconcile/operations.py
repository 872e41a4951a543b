"""What a host is asked for next. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from control_plane.reconcile.wishes import HostWish
from hyperv.model import VmState

FIRST_RETRY_S: Final = 0.2
LAST_RETRY_S: Final = 10.0
REFUSED_RETRY_S: Final = 60.0  # the same call fails until somebody changes something on the host


@dataclass(frozen=True, slots=True)
class Operation:
    """Make a sensor's VM be as specified (`ensure`), or be gone (`remove`).

    `vm_hash` is that of the specification, empty for a removal.
    """

    kind: Literal["ensure", "remove"]
    sensor_id: str
    vm_hash: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An operation that failed `count` times in a row and is not due before `at_s` (monotonic)."""

    operation: Operation
    count: int
    at_s: float


def wanted_operations(
    wish: HostWish, vms: Mapping[str, VmState], removed: Collection[str]
) -> dict[str, Operation]:
    """Return, by sensor, what is left to be done on a host, removals first.

    A removal is asked for even of a VM that the host does not name: its answer
    is the proof that there is none.
    """
    operations = {
        sensor_id: Operation("remove", sensor_id)
        for sensor_id in sorted(wish.remove)
        if sensor_id not in removed
    }
    for sensor_id, sensor in wish.ensure.items():
        vm = vms.get(sensor_id)
        if vm is None or vm.spec_hash != sensor.vm_hash:
            operations[sensor_id] = Operation("ensure", sensor_id, sensor.vm_hash)
    return operations


def due_operations(
    wanted: Mapping[str, Operation],
    under_way: Collection[str],
    failed: Mapping[str, Attempt],
    now_s: float,
    free: int,
) -> list[Operation]:
    """Return at most `free` operations to begin: one at a time for a sensor, none before its time."""
    due: list[Operation] = []
    for sensor_id, operation in wanted.items():
        if len(due) >= free:
            break
        if sensor_id in under_way:
            continue
        attempt = failed.get(sensor_id)
        if attempt is None or attempt.operation != operation or attempt.at_s <= now_s:
            due.append(operation)
    return due


def next_due_s(
    wanted: Mapping[str, Operation], under_way: Collection[str], failed: Mapping[str, Attempt]
) -> float | None:
    """Return when the first operation that waits for its time is due; None if none does."""
    times = [
        attempt.at_s
        for sensor_id, attempt in failed.items()
        if sensor_id not in under_way and wanted.get(sensor_id) == attempt.operation
    ]
    return min(times, default=None)


def failed_again(
    before: Attempt | None, operation: Operation, now_s: float, jitter: float, *, terminal: bool
) -> Attempt:
    """Return the attempt that just failed; `jitter` is random, 0 to 1, so that hosts are not met in step."""
    count = before.count + 1 if before is not None and before.operation == operation else 1
    retry_s = min(FIRST_RETRY_S * 2 ** min(count - 1, 16), LAST_RETRY_S)
    wait_s = REFUSED_RETRY_S if terminal else retry_s
    return Attempt(operation, count, now_s + wait_s * (0.5 + jitter / 2))
