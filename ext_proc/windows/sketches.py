"""The sketches of many windows, by slot.

Entries (bucket code, count) lie in one arena. What one record adds to a slot is
an extent of it, chained to the slot's earlier ones, so adding costs what is
added. Reading merges a chain; a long one is merged at once, which bounds both
its length and the entries of a slot.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ext_proc.windows.arrays import Ints, grown, ranges
from ext_proc.windows.sketch import collapse, count_codes

_MAX_LINKS: Final = 32
_NONE: Final = -1


class SketchArena:
    """Sketches of slots 0..n-1."""

    def __init__(self) -> None:
        self._codes = np.empty(0, np.int32)
        self._counts = np.empty(0, np.int64)
        self.entries = 0
        self._start: Ints = np.empty(0, np.int64)
        self._length: Ints = np.empty(0, np.int64)
        self._earlier: Ints = np.empty(0, np.int64)  # the extent before this one of the same slot
        self._extents = 0
        self._newest: Ints = np.empty(0, np.int64)  # by slot
        self._links: Ints = np.empty(0, np.int64)  # by slot: length of the chain

    def add(self, slots: Ints, lengths: Ints, codes: Ints, counts: Ints) -> None:
        """Add entries to sketches.

        Args:
            slots: Distinct slots; new ones begin empty.
            lengths: How many entries of `codes` and `counts`, in order, go to each; at least 1.
            codes: Bucket codes.
            counts: Of each code.
        """
        if not len(slots):
            return
        top = int(slots.max()) + 1
        self._newest = grown(self._newest, top, _NONE)
        self._links = grown(self._links, top)
        self._append(slots, self._newest[slots], lengths, codes, counts)
        self._links[slots] += 1
        long = slots[self._links[slots] > _MAX_LINKS]
        if len(long):
            self._merge(long)

    def read(self, slots: Ints) -> tuple[Ints, Ints, Ints]:
        """Return (place in `slots`, bucket code, count), sorted by place and code."""
        place = np.arange(len(slots))
        extent = self._newest[slots]
        places, extents = [place], [extent]
        while True:
            extent = self._earlier[extent]
            more = extent != _NONE
            if not more.any():
                break
            place, extent = place[more], extent[more]
            places.append(place)
            extents.append(extent)
        extent = np.concatenate(extents)
        lengths = self._length[extent]
        entries = ranges(self._start[extent], lengths)
        codes = self._codes[entries].astype(np.int64)
        counted = count_codes(np.repeat(np.concatenate(places), lengths), codes, self._counts[entries])
        return collapse(*counted)

    def keep(self, slots: Ints) -> None:
        """Forget all but `slots`, which become slots 0..n-1 in the order given."""
        linked = slots[self._links[slots] > 1]
        if len(linked):
            self._merge(linked)
        extents = self._newest[slots]
        lengths = self._length[extents]
        entries = ranges(self._start[extents], lengths)
        self._codes, self._counts = self._codes[entries], self._counts[entries]
        self.entries = len(entries)
        self._start, self._length = np.cumsum(lengths) - lengths, lengths
        self._extents = len(slots)
        self._earlier = np.full(len(slots), _NONE)
        self._newest = np.arange(len(slots))
        self._links = np.ones(len(slots), np.int64)

    def _merge(self, slots: Ints) -> None:
        place, codes, counts = self.read(slots)
        lengths = np.bincount(place, minlength=len(slots))
        self._append(slots, np.full(len(slots), _NONE), lengths, codes, counts)
        self._links[slots] = 1

    def _append(self, slots: Ints, earlier: Ints, lengths: Ints, codes: Ints, counts: Ints) -> None:
        end = self.entries + len(codes)
        self._codes, self._counts = grown(self._codes, end), grown(self._counts, end)
        self._codes[self.entries : end], self._counts[self.entries : end] = codes, counts
        last = self._extents + len(slots)
        new = slice(self._extents, last)
        self._start, self._length = grown(self._start, last), grown(self._length, last)
        self._earlier = grown(self._earlier, last)
        self._start[new] = self.entries + np.cumsum(lengths) - lengths
        self._length[new] = lengths
        self._earlier[new] = earlier
        self._newest[slots] = np.arange(self._extents, last)
        self._extents, self.entries = last, end
