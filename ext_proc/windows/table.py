"""The open windows of one size, as a table sorted by (series, start).

A row lives from its first reading until no reading could be accepted for it
any more. Statistics merge as in Chan, Golub, LeVeque: "Updating formulae and a
pairwise algorithm for computing sample variances" (1979).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ext_proc.windows.sketch import SketchLog, bucket_codes, sum_by

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_INDEX_BITS: Final = 41
_INDEX_BIAS: Final = 1 << 40  # window indexes are negative before 1970

FLOAT_COLUMNS: Final = ("mean", "m2", "sum", "min", "max", "first", "last")
INT_COLUMNS: Final = ("key", "slot", "count", "first_time", "first_seq", "last_time", "last_seq", "revision")


@dataclass(frozen=True, slots=True)
class Sorted:
    """Aggregated readings of one record, sorted by (series, time, seq)."""

    series: Ints
    time: Ints  # Unix ns
    seq: Ints
    value: Floats


class WindowTable:
    """Windows of `size_ns`. `columns` are parallel arrays sorted by key."""

    def __init__(self, size_ns: int) -> None:
        self.size_ns = size_ns
        self.sketches = SketchLog()
        self._next_slot = 0
        self.columns: dict[str, npt.NDArray[np.float64] | npt.NDArray[np.int64]] = {
            **{name: np.empty(0, np.int64) for name in INT_COLUMNS},
            **{name: np.empty(0, np.float64) for name in FLOAT_COLUMNS},
        }

    def __len__(self) -> int:
        return len(self.columns["key"])

    def ints(self, name: str) -> Ints:
        """Return an integer column."""
        return self.columns[name]  # type: ignore[return-value]

    def floats(self, name: str) -> Floats:
        """Return a float column."""
        return self.columns[name]  # type: ignore[return-value]

    @property
    def series(self) -> Ints:
        """The series of each row."""
        return self.ints("key") >> _INDEX_BITS

    @property
    def end(self) -> Ints:
        """The end of each row's window, Unix ns."""
        return self.start + self.size_ns

    @property
    def start(self) -> Ints:
        """The start of each row's window, Unix ns."""
        index = (self.ints("key") & ((1 << _INDEX_BITS) - 1)) - _INDEX_BIAS
        return index * self.size_ns

    def add(self, readings: Sorted) -> Ints:
        """Merge readings in; return the positions of the rows they touched."""
        partial, codes, rows_of_codes, counts = self._partials(readings)
        keys = self.ints("key")
        place = np.searchsorted(keys, partial["key"])
        known = np.zeros(len(place), bool)
        inside = place < len(keys)
        known[inside] = keys[place[inside]] == partial["key"][inside]
        self._merge_into(place[known], {name: column[known] for name, column in partial.items()})
        fresh = ~known
        if fresh.any():
            partial["slot"][fresh] = np.arange(self._next_slot, self._next_slot + int(fresh.sum()))
            self._next_slot += int(fresh.sum())
            for name, column in self.columns.items():
                self.columns[name] = np.insert(column, place[fresh], partial[name][fresh])
        touched = np.searchsorted(self.ints("key"), partial["key"])
        self.sketches.append(self.ints("slot")[touched][rows_of_codes], codes, counts)
        return touched

    def keep(self, mask: Bools) -> None:
        """Drop the rows that `mask` does not hold."""
        if not mask.all():
            for name, column in self.columns.items():
                self.columns[name] = column[mask]
        self.sketches.compact(self.ints("slot"))

    def restore(self, columns: dict[str, npt.NDArray[np.float64] | npt.NDArray[np.int64]]) -> None:
        """Take over columns that an equal table had; slots must be 0..n-1 in order."""
        self.columns = columns
        self._next_slot = len(self)

    def _partials(
        self, readings: Sorted
    ) -> tuple[dict[str, npt.NDArray[np.float64] | npt.NDArray[np.int64]], Ints, Ints, Ints]:
        """Return a row for each window in `readings`, and its buckets as (code, row, count)."""
        value = readings.value
        key = (readings.series << _INDEX_BITS) + (readings.time // self.size_ns + _INDEX_BIAS)
        new = np.empty(len(key), bool)
        new[0] = True
        np.not_equal(key[1:], key[:-1], out=new[1:])
        starts = np.flatnonzero(new)
        lasts = np.append(starts[1:], len(key)) - 1
        count = lasts - starts + 1
        row = np.cumsum(new) - 1
        total = np.add.reduceat(value, starts)
        mean = total / count
        m2 = np.add.reduceat((value - mean[row]) ** 2, starts)
        partial: dict[str, npt.NDArray[np.float64] | npt.NDArray[np.int64]] = {
            "key": key[starts],
            "slot": np.zeros(len(starts), np.int64),
            "count": count,
            "first_time": readings.time[starts],
            "first_seq": readings.seq[starts],
            "last_time": readings.time[lasts],
            "last_seq": readings.seq[lasts],
            "revision": np.zeros(len(starts), np.int64),
            "mean": mean,
            "m2": m2,
            "sum": total,
            "min": np.minimum.reduceat(value, starts),
            "max": np.maximum.reduceat(value, starts),
            "first": value[starts],
            "last": value[lasts],
        }
        rows, codes, counts = sum_by(row, bucket_codes(value), np.ones(len(row), np.int64))
        return partial, codes, rows, counts

    def _merge_into(
        self, at: Ints, partial: dict[str, npt.NDArray[np.float64] | npt.NDArray[np.int64]]
    ) -> None:
        """Merge rows of `partial` into the rows at positions `at`."""
        if not len(at):
            return
        mine = {name: column[at] for name, column in self.columns.items()}
        count = mine["count"] + partial["count"]
        delta = partial["mean"] - mine["mean"]
        m2 = mine["m2"] + partial["m2"] + delta**2 * (mine["count"] * (partial["count"] / count))
        merged = {
            "count": count,
            "mean": mine["mean"] + delta * (partial["count"] / count),
            "m2": m2,
            "sum": mine["sum"] + partial["sum"],
            "min": np.minimum(mine["min"], partial["min"]),
            "max": np.maximum(mine["max"], partial["max"]),
        }
        for edge, earlier in (("first", True), ("last", False)):
            time, seq = f"{edge}_time", f"{edge}_seq"
            tie = partial[time] == mine[time]
            if earlier:
                take = (partial[time] < mine[time]) | (tie & (partial[seq] < mine[seq]))
            else:
                take = (partial[time] > mine[time]) | (tie & (partial[seq] > mine[seq]))
            for name in (edge, time, seq):
                merged[name] = np.where(take, partial[name], mine[name])
        for name, column in merged.items():
            self.columns[name][at] = column
