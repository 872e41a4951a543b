"""Where the row of (lane, number) is: sorted runs, merged as they pile up.

Used for the rare reading that is older than the newest window of its series;
rows are taken in only when such a reading comes.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ext_proc.windows.arrays import Ints

_FACTOR: Final = 8  # a run is merged into the one before unless that is this much larger

_Run = tuple[Ints, Ints, Ints]  # lane, number, slot: sorted by lane and number


class RunIndex:
    """Maps (lane, number) to a slot; each pair is put in once."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []

    def put(self, lane: Ints, number: Ints, slot: Ints) -> None:
        """Add entries."""
        if not len(lane):
            return
        self._runs.append(_sorted(lane, number, slot))
        while len(self._runs) > 1 and len(self._runs[-2][0]) < _FACTOR * len(self._runs[-1][0]):
            one, two = self._runs.pop(), self._runs.pop()
            self._runs.append(_sorted(*(np.concatenate(pair) for pair in zip(two, one, strict=True))))

    def find(self, lane: Ints, number: Ints) -> Ints:
        """Return the slot of each pair, -1 where there is none."""
        found = np.full(len(lane), -1)
        for lanes, numbers, slots in self._runs:
            low, high = np.searchsorted(lanes, lane, "left"), np.searchsorted(lanes, lane, "right")
            end = high.copy()
            while np.any(low < high):  # binary search for the number, within the lane
                middle = (low + high) // 2
                less = (low < high) & (numbers[np.minimum(middle, len(numbers) - 1)] < number)
                low, high = np.where(less, middle + 1, low), np.where(less, high, middle)
            place = np.minimum(low, len(numbers) - 1)
            hit = (low < end) & (numbers[place] == number)
            found[hit] = slots[place[hit]]
        return found

    def renumber(self, new_slot: Ints) -> None:
        """Replace each slot by new_slot[slot]; entries of those that are -1 are dropped."""
        runs = []
        for lane, number, slot in self._runs:
            moved = new_slot[slot]
            kept = moved >= 0
            if kept.any():
                runs.append((lane[kept], number[kept], moved[kept]))
        self._runs = runs


def _sorted(lane: Ints, number: Ints, slot: Ints) -> _Run:
    order = np.lexsort((number, lane))
    return lane[order], number[order], slot[order]
