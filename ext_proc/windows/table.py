"""The windows of all sizes: one row for each (size, series, number), start = number * size.

A row lives from its first reading until its window is closed for good (no
reading could be accepted for it any more), and a while longer: dead rows are
swept out in bulk, which no output shows. A record costs what it touches and
what waits to be emitted, not what the table holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from ext_proc.windows import statistics
from ext_proc.windows.arrays import Bools, Floats, Ints, grown
from ext_proc.windows.grouping import SortedReadings, WindowGroups, group
from ext_proc.windows.lookup import Lookup
from ext_proc.windows.pending import PendingRows
from ext_proc.windows.sketch import bucket_codes, count_codes
from ext_proc.windows.sketches import SketchArena
from ext_proc.windows.statistics import Partials, merged

_SWEEP_ROWS: Final = 4096
_SWEEP_ENTRIES: Final = 1 << 16
_COLUMNS: Final = ("floats", "ints", "size", "series", "number", "end", "revision")
_NO_ROWS: Final[Ints] = np.empty(0, np.int64)


class WindowTable:
    """Rows are slots 0..len-1 of the columns.

    Attributes:
        floats, ints: Statistics (statistics.FLOATS, statistics.INTS).
        size: Which of `sizes_ns` each window has.
        sizes_ns: All sizes that were ever in force.
        end: Unix ns.
        revision: How often it was emitted.
        sketches: Quantile sketches by slot.
    """

    def __init__(self) -> None:
        self.sizes_ns: list[int] = []
        self.floats: Floats = np.empty((0, len(statistics.FLOATS)))
        self.ints: Ints = np.empty((0, len(statistics.INTS)), np.int64)
        self.size = self.series = self.number = self.end = self.revision = _NO_ROWS
        self.sketches = SketchArena()
        self._rows = 0
        self._in_force: Ints = np.empty(0, np.int64)  # places in sizes_ns, by size
        self._pending = PendingRows()
        self._lookup = Lookup()
        self._swept_rows = self._swept_entries = 0

    def __len__(self) -> int:
        return self._rows

    def force(self, sizes_ns: Iterable[int]) -> Ints:
        """Take readings into windows of these sizes from now on.

        Returns the rows of other sizes that were never emitted, which are
        pending no more. Such rows stay until they are dead, so that a size
        that comes back goes on with its revisions.
        """
        wanted = sorted(sizes_ns)
        self.sizes_ns += [size for size in wanted if size not in self.sizes_ns]
        self._in_force = np.array([self.sizes_ns.index(size) for size in wanted], np.int64)
        return self._pending.take(~np.isin(self.size[self._pending.slots], self._in_force))

    def add(self, readings: SortedReadings) -> Ints:
        """Merge readings in; return the rows among those touched that had been emitted before."""
        sizes = [self.sizes_ns[place] for place in self._in_force.tolist()]
        if not sizes:
            return _NO_ROWS
        groups = group(readings, sizes)
        size = self._in_force[groups.size]
        slots = self._lookup.find(size, groups.series, groups.number)
        known = slots >= 0
        old, new = slots[known], ~known
        if len(old):
            both = merged(Partials(self.floats[old], self.ints[old]), groups.statistics[known])
            self.floats[old], self.ints[old] = both.floats, both.ints
        if len(old) < len(slots):
            slots[new] = self.insert(
                groups.statistics[new],
                size=size[new],
                series=groups.series[new],
                number=groups.number[new],
                sensor=groups.sensor[new],
            )
        self._add_to_sketches(groups, slots, readings.value)
        return old[self.revision[old] > 0]

    def _add_to_sketches(self, groups: WindowGroups, slots: Ints, value: Floats) -> None:
        """Add the buckets of each cell once, for the windows of all sizes."""
        cell, codes, counts = count_codes(groups.cell_of, bucket_codes(value))
        ends = np.bincount(cell).cumsum()
        starts = np.zeros(len(ends) + 1, np.int64)
        starts[1:] = ends
        first = starts[groups.first_cell]
        lengths = starts[groups.first_cell + groups.cells] - first
        self.sketches.add(slots, first, lengths, codes, counts)

    def insert(
        self,
        rows: Partials,
        *,
        size: Ints,
        series: Ints,
        number: Ints,
        sensor: Ints,
        revision: Ints | None = None,
    ) -> Ints:
        """Add rows of windows that are not here, numbers ascending within (size, series).

        Returns their slots, whose sketches are empty. Without `revision` they
        were not emitted yet.
        """
        first, last = self._rows, self._rows + len(size)
        end = (number + 1) * np.array(self.sizes_ns, np.int64)[size]
        new = (rows.floats, rows.ints, size, series, number, end, 0 if revision is None else revision)
        for name, values in zip(_COLUMNS, new, strict=True):
            column = grown(getattr(self, name), last)
            column[first:last] = values
            setattr(self, name, column)
        self._rows = last
        slots = np.arange(first, last)
        self._lookup.put(size, series, number, slots)
        waits = slice(None) if revision is None else revision == 0
        self._pending.add(slots[waits], sensor[waits], end[waits])
        return slots

    def take_due(self, due: Ints) -> Ints:
        """Return the rows never emitted that end by due[sensor] (Unix ns); they are pending no more."""
        return self._pending.take_due(due)

    def emit(self, slots: Ints) -> Ints:
        """Count a revision of each row; return the rows sorted by (size, series, start)."""
        self.revision[slots] += 1
        return self.sorted(slots)

    def sorted(self, slots: Ints) -> Ints:
        """Return rows sorted by (size, series, start)."""
        if len(slots) < 2:
            return slots
        size_ns = np.array(self.sizes_ns, np.int64)[self.size[slots]]
        return slots[np.lexsort((self.number[slots], self.series[slots], size_ns))]

    @property
    def crowded(self) -> bool:
        """Whether it is worth to sweep."""
        return (
            self._rows > 2 * self._swept_rows + _SWEEP_ROWS
            or self.sketches.entries > 2 * self._swept_entries + _SWEEP_ENTRIES
        )

    def living(self, closed: Ints) -> Ints:
        """Return the rows that were not emitted, or end after closed[series] (Unix ns)."""
        end, revision = self.end[: self._rows], self.revision[: self._rows]
        series = self.series[: self._rows]
        alive: Bools = (end > closed[series]) | (revision == 0)
        return alive.nonzero()[0]

    def sweep(self, closed: Ints) -> None:
        """Drop all rows but the living ones."""
        kept = self.living(closed)
        new_slot = np.full(self._rows, -1)
        new_slot[kept] = np.arange(len(kept))
        for name in _COLUMNS:
            column = getattr(self, name)
            column[: len(kept)] = column[kept]
        self._rows = len(kept)
        self.sketches.keep(kept)
        self._pending.renumber(new_slot)
        self._lookup.renumber(new_slot)
        self._swept_rows, self._swept_entries = self._rows, self.sketches.entries
