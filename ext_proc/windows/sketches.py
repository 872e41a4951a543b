"""The sketches of many windows, by slot.

Entries (bucket code, count) lie in one arena. What one record adds to a slot is
an extent of it, chained to the slot's earlier ones, so adding costs what is
added. Reading merges a chain; a long one is merged at once, which bounds both
its length and the entries of a slot.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from ext_proc.windows.arrays import Ints, grown, ranges
from ext_proc.windows.sketch import collapse, count_codes

_MAX_LINKS: Final = 32
_NONE: Final = -1

_Codes = npt.NDArray[np.int32] | Ints  # a code fits in 18 bits; kept as int32


class SketchArena:
    """Sketches of slots 0..n-1."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._codes = np.empty(0, np.int32)
        self._counts: Ints = np.empty(0, np.int64)
        self.entries = 0
        self._start: Ints = np.empty(0, np.int64)
        self._length: Ints = np.empty(0, np.int64)
        self._earlier: Ints = np.empty(0, np.int64)  # the extent before this one of the same slot
        self._extents = 0
        self._newest: Ints = np.empty(0, np.int64)  # by slot
        self._links: Ints = np.empty(0, np.int64)  # by slot: extents added since its last merge

    def add(self, slots: Ints, starts: Ints, lengths: Ints, codes: _Codes, counts: Ints) -> None:
        """Add entries to sketches.

        Args:
            slots: Distinct slots; new ones begin empty. At least one.
            starts: Where the entries that go to each begin in `codes` and `counts`. Several slots
                may share entries.
            lengths: How many they are; at least 1.
            codes: Bucket codes.
            counts: Of each code.
        """
        top = int(slots.max()) + 1
        self._newest = grown(self._newest, top, _NONE)
        self._links = grown(self._links, top, 0)
        self._append(slots, self._newest[slots], starts=starts, lengths=lengths, codes=codes, counts=counts)
        links = self._links[slots] + 1
        self._links[slots] = links
        if int(links.max()) > _MAX_LINKS:
            self._merge(slots[links > _MAX_LINKS])

    def read(self, slots: Ints) -> tuple[Ints, Ints, Ints]:
        """Return (place in `slots`, bucket code, count), sorted by place and code."""
        place, extent = self._chains(slots)
        lengths = self._length[extent]
        entries = ranges(self._start[extent], lengths)
        codes = self._codes[entries].astype(np.int64)
        return collapse(*count_codes(place.repeat(lengths), codes, self._counts[entries]))

    def keep(self, slots: Ints) -> None:
        """Forget all but `slots`, which become slots 0..n-1 in the order given."""
        place, extent = self._chains(slots)
        order = place.argsort(kind="stable")
        place, extent = place[order], extent[order]
        lengths = self._length[extent]
        entries = ranges(self._start[extent], lengths)
        codes, counts = self._codes[entries], self._counts[entries]
        links = self._links[slots]
        of_slot = np.bincount(place, lengths, len(slots)).astype(np.int64)
        self._clear()
        if len(slots):
            self.add(np.arange(len(slots)), np.cumsum(of_slot) - of_slot, of_slot, codes, counts)
            self._links[: len(slots)] = links  # not merged: they count towards the next merge

    def _chains(self, slots: Ints) -> tuple[Ints, Ints]:
        """Return (place in `slots`, extent) for all extents of slots."""
        place, extent = np.arange(len(slots)), self._newest[slots]
        places, extents = [place], [extent]
        while True:
            extent = self._earlier[extent]
            more = extent != _NONE
            if not more.any():
                return np.concatenate(places), np.concatenate(extents)
            place, extent = place[more], extent[more]
            places.append(place)
            extents.append(extent)

    def _merge(self, slots: Ints) -> None:
        place, codes, counts = self.read(slots)
        lengths = np.bincount(place, minlength=len(slots))
        starts = np.cumsum(lengths) - lengths
        none = np.full(len(slots), _NONE)
        self._append(slots, none, starts=starts, lengths=lengths, codes=codes, counts=counts)
        self._links[slots] = 1

    def _append(
        self, slots: Ints, earlier: Ints, *, starts: Ints, lengths: Ints, codes: _Codes, counts: Ints
    ) -> None:
        end = self.entries + len(codes)
        self._codes, self._counts = grown(self._codes, end), grown(self._counts, end)
        self._codes[self.entries : end], self._counts[self.entries : end] = codes, counts
        last = self._extents + len(slots)
        new = slice(self._extents, last)
        self._start, self._length = grown(self._start, last), grown(self._length, last)
        self._earlier = grown(self._earlier, last)
        self._start[new] = self.entries + starts
        self._length[new] = lengths
        self._earlier[new] = earlier
        self._newest[slots] = np.arange(self._extents, last)
        self._extents, self.entries = last, end
