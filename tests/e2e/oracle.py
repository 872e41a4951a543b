"""An independent, simple computation of window rows from what agents produced.

No code of the fold is used: dictionaries, sorted lists and the textbook
formulas, so that agreement means something.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

RELATIVE_ACCURACY = 0.01  # of the quantile sketch
NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading as its agent's spool holds it."""

    sensor_id: str
    epoch: str
    seq: int
    metric: str
    unit: str
    time_unix_ns: int
    value: float


WindowKey = tuple[str, str, str, int, int]
"""(sensor, metric, unit, size in ms, start in Unix ns)."""


def windows_of(
    readings: Iterable[Reading], size_ms: int, until_unix_ns: int
) -> dict[WindowKey, list[Reading]]:
    """Return the readings of every window of one size that ends by `until_unix_ns`."""
    size_ns = size_ms * NS_PER_MS
    groups: dict[WindowKey, list[Reading]] = defaultdict(list)
    for reading in readings:
        start = reading.time_unix_ns // size_ns * size_ns
        if start + size_ns <= until_unix_ns:
            groups[reading.sensor_id, reading.metric, reading.unit, size_ms, start].append(reading)
    return dict(groups)


def differences(
    expected: Mapping[WindowKey, list[Reading]], rows: Mapping[WindowKey, Mapping[str, Any]]
) -> list[str]:
    """Return what is wrong with `rows`, a sentence each; none when they are right.

    Counts, extremes, first and last are compared exactly, sums to rounding,
    quantiles to the sketch's accuracy.
    """
    wrong = [f"missing window {key}: {len(expected[key])} readings" for key in expected.keys() - rows.keys()]
    wrong += [f"window that should not be: {key} {dict(rows[key])}" for key in rows.keys() - expected.keys()]
    for key in sorted(expected.keys() & rows.keys()):
        wrong += [f"{key}: {problem}" for problem in _compare(expected[key], rows[key])]
    return wrong


def _compare(readings: list[Reading], row: Mapping[str, Any]) -> list[str]:
    ordered = sorted(readings, key=lambda reading: (reading.time_unix_ns, reading.seq))
    values = [reading.value for reading in ordered]
    exact = {
        "count": len(values),
        "min": min(values),
        "max": max(values),
        "first": values[0],
        "last": values[-1],
    }
    wrong = [f"{name} is {row[name]}, not {value}" for name, value in exact.items() if row[name] != value]
    close = {
        "sum": math.fsum(values),
        "mean": statistics.fmean(values),
        "stddev": statistics.stdev(values) if len(values) > 1 else None,
    }
    wrong += [
        f"{name} is {row[name]}, not {value}" for name, value in close.items() if not _close(row[name], value)
    ]
    values.sort()
    for name, q in (("p50", 0.50), ("p95", 0.95), ("p99", 0.99)):
        rank = q * (len(values) - 1)
        low, high = values[math.floor(rank)], values[math.ceil(rank)]
        slack = RELATIVE_ACCURACY * max(abs(low), abs(high)) + 1e-12
        if not low - slack <= row[name] <= high + slack:
            wrong.append(f"{name} is {row[name]}, not within 1% of {low} to {high}")
    return wrong


def _close(got: float | None, wanted: float | None) -> bool:
    if got is None or wanted is None:
        return got is wanted
    return math.isclose(got, wanted, rel_tol=1e-9, abs_tol=1e-9)
