"""Verdicts: which readings are quarantined, and why. Decided once, before the append."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ext_proc.session.model import Series, TimeBounds
from wire.journal import Verdict


def series_verdicts(series: Series, units: Mapping[str, str]) -> NDArray[np.uint8]:
    """Return the verdict that each entry of `series` gives its readings, by the declared `units`."""
    return np.array([_series_verdict(metric, unit, units) for metric, unit in series], dtype=np.uint8)


def _series_verdict(metric: str, unit: str, units: Mapping[str, str]) -> Verdict:
    declared = units.get(metric)
    if declared is None:
        return Verdict.UNKNOWN_METRIC
    return Verdict.OK if declared == unit else Verdict.WRONG_UNIT


def reading_verdicts(
    value: NDArray[np.float64],
    time_unix_ns: NDArray[np.int64],
    by_series: NDArray[np.uint8],
    bounds: TimeBounds,
) -> NDArray[np.uint8]:
    """Return a verdict for each reading; where several apply, the lowest number of Verdict.

    It is `by_series` itself where nothing else applies.

    Args:
        value: Values, shape (n,).
        time_unix_ns: Event times, shape (n,).
        by_series: The verdict of each reading's series, shape (n,).
        bounds: The event times that are accepted.
    """
    finite = np.isfinite(value)
    # Ufunc reductions rather than methods: frames are small, and this runs for each of them.
    if (
        np.minimum.reduce(time_unix_ns) >= bounds.earliest_unix_ns
        and np.maximum.reduce(time_unix_ns) <= bounds.latest_unix_ns
        and np.logical_and.reduce(finite)
    ):
        return by_series
    verdict = np.where(time_unix_ns < bounds.earliest_unix_ns, np.uint8(Verdict.PAST), by_series)
    verdict = np.where(time_unix_ns > bounds.latest_unix_ns, np.uint8(Verdict.FUTURE), verdict)
    return np.where(finite, verdict, np.uint8(Verdict.NOT_FINITE))
