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
    left = np.ones(len(fresh), bool)
    _count(audit, "received", rows, left, sensors)
    for name, holds in (
        ("duplicate", ~fresh),
        ("quarantined", rows.verdict != Verdict.OK),
        ("excluded", rows.quality != Quality.GOOD),
        ("too_late", ~in_time),
    ):
        if holds.any():
            _count(audit, name, rows, left & holds, sensors)
            left &= ~holds
    _count(audit, "aggregated", rows, left, sensors)
    return left


def _count(audit: AuditCounters, name: str, rows: ReadingRows, mask: Bools, sensors: Ints) -> None:
    counts = np.bincount(rows.sensor.code[mask], minlength=len(sensors))
    used = np.flatnonzero(counts)
    audit.count_each(name, sensors[used], counts[used])
