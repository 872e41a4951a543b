"""Which rows to give up when there is no room for all. Pure.

A report shows what is: the newest window of every series comes before
completeness. Of a batch there are kept, in this order:

1. the newest window of every series, unless it is stale: always, they are waited for;
2. the other fresh windows, newest first: as far as there is room;
3. the newest window of every series that has only stale ones, then the other
   stale windows, newest first: as far as there is room beyond RESERVE windows
   of every series, which are left for what comes after an outage's backlog.

Stale is what ended longer than `stale_after` ago. So with room nothing is given
up, and without it a backlog is passed over at once instead of being shown late.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ext_proc.sinks.powerbi.arrays import Ints, Mask
from ext_proc.sinks.tables import LATEST_ORDER

RESERVE: Final = 10
_SERIES: Final = ("sensor_id", "metric", "unit", "size_ms")


@dataclass(frozen=True, slots=True)
class Room:
    """What there is room for.

    Attributes:
        rows: How many rows could be sent now.
        stale_before_unix_ns: Windows that ended before are stale.
    """

    rows: int
    stale_before_unix_ns: int


def keep(rows: pa.Table, room: Room) -> Mask:
    """Return which rows of the public windows table (in journal order) to send."""
    newest_first, newest = _by_age(rows)
    fresh = _numbers(rows, "window_end") >= room.stale_before_unix_ns
    kept = fresh & newest
    left = room.rows - int(kept.sum())
    reserved = RESERVE * int(newest.sum())
    for candidates, reserve in (
        (fresh & ~newest, 0),
        (~fresh & newest, reserved),
        (~fresh & ~newest, reserved),
    ):
        chosen = newest_first[candidates[newest_first]][: max(0, left - reserve)]
        kept[chosen] = True
        left -= len(chosen)
    return kept


def _by_age(rows: pa.Table) -> tuple[Ints, Mask]:
    """Return the rows' indices, newest first, and which rows are the newest of their series."""
    order = [_numbers(rows, name) for name in ("window_start", *LATEST_ORDER)]
    newest_first = np.lexsort([np.arange(rows.num_rows), *reversed(order)])[::-1]
    series = np.zeros(rows.num_rows, np.int64)
    for name in _SERIES:
        codes = _codes(rows.column(name))
        series = np.unique(series * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)[1]
    _, first = np.unique(series[newest_first], return_index=True)
    newest = np.zeros(rows.num_rows, bool)
    newest[newest_first[first]] = True
    return newest_first, newest


def _codes(column: pa.ChunkedArray) -> Ints:
    ranks: Any = pc.rank(column, tiebreaker="dense").to_numpy()
    codes: Ints = ranks.astype(np.int64) - 1
    return codes


def _numbers(rows: pa.Table, name: str) -> Ints:
    numbers: Ints = rows.column(name).cast(pa.int64()).to_numpy()
    return numbers
