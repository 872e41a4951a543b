"""Cursors: how far each epoch of each sensor has come, which readings are new, what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ext_proc.windows.arrays import Bools, Ints, grown
from ext_proc.windows.gaps import Interval, count_gaps

EPOCHS_KEPT: Final = 8  # as many as the session's cursor keeps
_NONE: Final = -1

Epochs = npt.NDArray[np.uint64]
Key = tuple[int, int]
"""(sensor, epoch)."""
Holes = Mapping[Key, Sequence[Interval]]
"""The holes that a record names; none is an empty list."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a record's sequence numbers say.

    Attributes:
        fresh: By row: whether its number is above all before it; if not, it is a duplicate.
        gaps: By sensor: (holes, sequence numbers in them).
    """

    fresh: Bools
    gaps: dict[int, tuple[int, int]]


class Cursors:
    """The highest sequence number of the last EPOCHS_KEPT epochs of each sensor.

    Epochs are ordered by when they moved last. A new one begins at 0: its
    first reading is number 1.
    """

    def __init__(self) -> None:
        self._epochs: list[dict[int, int]] = []  # by sensor: epoch -> cursor, the newest last
        self._newest: Ints = np.empty(0, np.int64)  # by sensor: the newest epoch's cursor
        self._newest_epoch: Epochs = np.empty(0, np.uint64)
        self._seq: Ints = np.empty(0, np.int64)  # by cursor
        self._free: list[int] = []
        self._crowded: set[int] = set()  # sensors with more epochs than are kept

    def of(self, sensor: int) -> dict[int, int]:
        """Return {epoch: highest sequence number} of a sensor, the newest epoch last."""
        if sensor >= len(self._epochs):
            return {}
        return {epoch: int(self._seq[cursor]) for epoch, cursor in self._epochs[sensor].items()}

    def restore(self, sensor: int, epoch: int, seq: int) -> None:
        """Add a cursor as the sensor's newest."""
        self._reserve(sensor + 1)
        cursor = self._cursor((sensor, epoch))
        self._seq[cursor] = seq
        self._make_newest((sensor, epoch))

    def take(self, sensor: Ints, epoch: Epochs, seq: Ints, holes: Holes) -> Taken:
        """Move over a record's readings (columns in log order) and over the holes that it names."""
        self._reserve(max([int(sensor.max(initial=-1)), *(key[0] for key in holes)]) + 1)
        for key, told in holes.items():  # an epoch known before is older than what the rows bring
            if key[1] in self._epochs[key[0]] and self._seq[self._cursor(key)] < max(told)[1]:
                self._make_newest(key)
        fresh, previous = self._move_over_rows(sensor, epoch, seq)
        missing: dict[Key, list[Interval]] = {}
        for row in (fresh & (seq - previous > 1)).nonzero()[0].tolist():
            key = int(sensor[row]), int(epoch[row])
            missing.setdefault(key, []).append((int(previous[row]) + 1, int(seq[row]) - 1))
        for key, told in holes.items():
            self._move_over_hole(key, max(last for _, last in told), missing)
        self._forget()
        gaps: dict[int, tuple[int, int]] = {}
        for key, intervals in missing.items():
            count, numbers = count_gaps(intervals, holes.get(key, ()))
            before = gaps.get(key[0], (0, 0))
            gaps[key[0]] = before[0] + count, before[1] + numbers
        return Taken(fresh, gaps)

    def _move_over_rows(self, sensor: Ints, epoch: Epochs, seq: Ints) -> tuple[Bools, Ints]:
        """Return for each row whether it is fresh, and the highest number of its epoch before it."""
        if not len(sensor):
            return np.empty(0, bool), seq
        new = np.ones(len(sensor), bool)
        np.logical_or(sensor[1:] != sensor[:-1], epoch[1:] != epoch[:-1], out=new[1:])
        first = new.nonzero()[0]  # of each run of rows of one sensor and epoch
        keys_sensor, keys_epoch = sensor[first], epoch[first]
        cursor = self._newest[keys_sensor]
        turning = (cursor == _NONE) | (self._newest_epoch[keys_sensor] != keys_epoch)
        for run in turning.nonzero()[0].tolist():
            cursor[run] = self._cursor((int(keys_sensor[run]), int(keys_epoch[run])))
        lengths = np.empty_like(first)
        np.subtract(first[1:], first[:-1], out=lengths[:-1])
        lengths[-1] = len(sensor) - first[-1]
        fresh, previous = _follow(cursor, lengths, seq, self._seq)
        if turning.any():  # several epochs of a sensor: the one that moved last is the newest
            moved = np.logical_or.reduceat(fresh, first) & np.isin(keys_sensor, keys_sensor[turning])
            for run in moved.nonzero()[0].tolist():
                self._make_newest((int(keys_sensor[run]), int(keys_epoch[run])))
        return fresh, previous

    def _move_over_hole(self, key: Key, last: int, missing: dict[Key, list[Interval]]) -> None:
        """Move a cursor to the end of a hole; what is missing on the way goes to `missing`."""
        is_new = key[1] not in self._epochs[key[0]]
        cursor = self._cursor(key)
        reached = int(self._seq[cursor])
        if last > reached:
            missing.setdefault(key, []).append((reached + 1, last))
            self._seq[cursor] = last
        if is_new:
            self._make_newest(key)

    def _reserve(self, sensors: int) -> None:
        while len(self._epochs) < sensors:
            self._epochs.append({})
        self._newest = grown(self._newest, sensors, _NONE)
        self._newest_epoch = grown(self._newest_epoch, sensors, 0)

    def _cursor(self, key: Key) -> int:
        """Return the cursor of a (sensor, epoch), made at 0 if there is none."""
        epochs = self._epochs[key[0]]
        found = epochs.get(key[1])
        if found is not None:
            return found
        if not self._free:
            made = len(self._seq)
            self._seq = grown(self._seq, made + 1)
            self._free.extend(range(len(self._seq) - 1, made - 1, -1))
        cursor = epochs[key[1]] = self._free.pop()
        self._seq[cursor] = 0
        if len(epochs) > EPOCHS_KEPT:
            self._crowded.add(key[0])
        return cursor

    def _make_newest(self, key: Key) -> None:
        sensor, epoch = key
        epochs = self._epochs[sensor]
        epochs[epoch] = self._newest[sensor] = epochs.pop(epoch)
        self._newest_epoch[sensor] = epoch

    def _forget(self) -> None:
        """Forget the oldest epochs beyond EPOCHS_KEPT."""
        for sensor in self._crowded:
            epochs = self._epochs[sensor]
            while len(epochs) > EPOCHS_KEPT:
                self._free.append(epochs.pop(next(iter(epochs))))
        self._crowded.clear()


def _follow(cursor: Ints, lengths: Ints, seq: Ints, reached: Ints) -> tuple[Bools, Ints]:
    """Return for each row whether it is fresh, and the highest number before it; moves `reached`.

    Args:
        cursor: Of each run of rows, in log order; a cursor may have several runs.
        lengths: Of the runs.
        seq: Of the rows.
        reached: By cursor, the highest number.
    """
    ordered = np.sort(cursor)
    if (ordered[1:] == ordered[:-1]).any():
        return _follow_scattered(np.repeat(cursor, lengths), seq, reached)
    first = np.cumsum(lengths) - lengths
    previous = np.empty_like(seq)
    previous[1:] = seq[:-1]
    previous[first] = reached[cursor]
    fresh = seq > previous
    if not fresh.all():  # repeated numbers: compare with the highest before, not with the last
        highest = _running_maximum(np.maximum(seq, np.repeat(reached[cursor], lengths)), lengths)
        previous[1:] = highest[:-1]
        previous[first] = reached[cursor]
        fresh = seq > previous
        reached[cursor] = highest[first + lengths - 1]
    else:
        reached[cursor] = seq[first + lengths - 1]
    return fresh, previous


def _follow_scattered(cursor: Ints, seq: Ints, reached: Ints) -> tuple[Bools, Ints]:
    """Do what _follow does after bringing the rows of each cursor together."""
    order = np.argsort(cursor, kind="stable")
    whole, lengths = np.unique(cursor, return_counts=True)
    fresh, previous = np.empty(len(seq), bool), np.empty_like(seq)
    fresh[order], previous[order] = _follow(whole, lengths, seq[order], reached)
    return fresh, previous


def _running_maximum(values: Ints, lengths: Ints) -> Ints:
    """Return the highest value so far within each run."""
    distinct, rank = np.unique(values, return_inverse=True)
    run = np.repeat(np.arange(len(lengths)), lengths)
    highest: Ints = distinct[np.maximum.accumulate((run << 32) + rank) & 0xFFFFFFFF]
    return highest
