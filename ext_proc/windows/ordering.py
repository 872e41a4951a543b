"""Readings of a record in the order that windows need: by series, then (time, seq)."""

from __future__ import annotations

import numpy as np

from ext_proc.windows.arrays import Ints


def by_series(series: Ints, time: Ints, seq: Ints) -> Ints:
    """Return the order that brings each series together, sorted by (time, seq).

    Rows with equal times and numbers (of two epochs) stay as they are. `series`
    counts from 0. Agents send most readings in order, so sorting by series is
    tried first, which is several times faster.
    """
    codes = series.astype(np.uint16) if int(series.max(initial=0)) < 1 << 16 else series
    order = np.argsort(codes, kind="stable")
    if len(order) < 2:
        return order
    series, time, seq = series[order], time[order], seq[order]
    same = series[1:] == series[:-1]
    back = (time[1:] < time[:-1]) | ((time[1:] == time[:-1]) & (seq[1:] < seq[:-1]))
    if not np.any(same & back):
        return order
    return order[np.lexsort((seq, time, series))]
