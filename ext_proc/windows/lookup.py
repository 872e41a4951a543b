"""Where the row of a window is.

A lane is one series at one size. Nearly all readings fall into the newest
window of their lane, or begin a newer one: an array lookup. Older windows are
found in an index that takes rows in only when such a reading comes.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ext_proc.windows.arrays import Ints
from ext_proc.windows.index import RunIndex

_NEVER: Final = np.iinfo(np.int64).min
_NONE: Final = -1


class Lookup:
    """Maps (size, series, number) to a slot. `size` is a small number that stands for a window size."""

    def __init__(self) -> None:
        self._number: Ints = np.empty((0, 0), np.int64)  # newest, by size and series
        self._slot: Ints = np.empty((0, 0), np.int64)
        self._older = RunIndex()
        self._waiting: list[tuple[Ints, Ints, Ints]] = []  # what the index has not taken in

    def find(self, size: Ints, series: Ints, number: Ints) -> Ints:
        """Return the slot of each window, -1 for those that have none."""
        self._reserve(size, series)
        newest = self._number[size, series]
        slots = np.where(number == newest, self._slot[size, series], _NONE)
        late = np.flatnonzero(number < newest)
        if len(late):
            for entries in self._waiting:
                self._older.put(*entries)
            self._waiting.clear()
            slots[late] = self._older.find(_lane(size[late], series[late]), number[late])
        return slots

    def put(self, size: Ints, series: Ints, number: Ints, slots: Ints) -> None:
        """Add windows that are not here; numbers ascend within (size, series)."""
        self._reserve(size, series)
        self._waiting.append((_lane(size, series), number, slots))
        newer = number > self._number[size, series]
        at = size[newer], series[newer]
        self._number[at] = number[newer]  # where a pair comes again, the last one stays
        self._slot[at] = slots[newer]

    def renumber(self, new_slot: Ints) -> None:
        """Replace each slot by new_slot[slot]; windows of those that are -1 are forgotten."""
        known = self._slot != _NONE
        self._slot[known] = new_slot[self._slot[known]]
        waiting, self._waiting = self._waiting, []
        for lane, number, slots in waiting:
            kept = new_slot[slots] != _NONE
            self._waiting.append((lane[kept], number[kept], new_slot[slots[kept]]))
        self._older.renumber(new_slot)

    def _reserve(self, size: Ints, series: Ints) -> None:
        sizes, room = self._number.shape
        most_sizes, most_series = int(size.max(initial=-1)) + 1, int(series.max(initial=-1)) + 1
        if most_sizes <= sizes and most_series <= room:
            return
        shape = max(most_sizes, sizes), max(most_series, 2 * room) if most_series > room else room
        number, slot = np.full(shape, _NEVER), np.full(shape, _NONE)
        number[:sizes, :room], slot[:sizes, :room] = self._number, self._slot
        self._number, self._slot = number, slot


def _lane(size: Ints, series: Ints) -> Ints:
    return (size << 32) + series
