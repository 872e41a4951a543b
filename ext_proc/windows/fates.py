"""The fate of each reading: exactly one, the first that holds."""

from __future__ import annotations

import numpy as np

from ext_proc.windows.arrays import Bools, Ints
from ext_proc.windows.audit import AuditCounters
from ext_proc.windows.records import ReadingRows
from wire.journal import Quality, Verdict


def settle(rows: ReadingRows, fresh: Bools, in_time: Bools, sensors: Ints, audit: AuditCounters) -> Bools:
    """Count the fate of each reading; return which are aggregated.

    Args:
        rows: A record's readings.
        fresh: Those that are not duplicates.
        in_time: Those that are not too late.
        sensors: The sensor of each word of `rows.sensor`.
        audit: Takes the counts.
    """
    received = _count(rows, None, len(sensors))
    used = received.nonzero()[0]
    audit.count_each("received", sensors[used], received[used])
    left: Bools | None = None
    for name, holds in (
        ("duplicate", ~fresh),
        ("quarantined", rows.verdict != Verdict.OK),
        ("excluded", rows.quality != Quality.GOOD),
        ("too_late", ~in_time),
    ):
        if holds.any():
            these = holds if left is None else left & holds
            audit.count_each(name, sensors[used], _count(rows, these, len(sensors))[used])
            left = ~holds if left is None else left & ~holds
    aggregated = received if left is None else _count(rows, left, len(sensors))
    audit.count_each("aggregated", sensors[used], aggregated[used])
    return np.ones(len(fresh), bool) if left is None else left


def _count(rows: ReadingRows, mask: Bools | None, sensors: int) -> Ints:
    """Return how many rows each word of `rows.sensor` has in `mask`."""
    codes = rows.sensor.code if mask is None else rows.sensor.code[mask]
    return np.bincount(codes, minlength=sensors)
