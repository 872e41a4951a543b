"""Windows that were not emitted yet."""

from __future__ import annotations

import numpy as np

from ext_proc.windows.arrays import Bools, Ints


class PendingRows:
    """Slots of rows with revision 0, with what decides when they are due."""

    def __init__(self) -> None:
        self.slots: Ints = np.empty(0, np.int64)
        self._sensor: Ints = np.empty(0, np.int64)
        self._end: Ints = np.empty(0, np.int64)

    def add(self, slots: Ints, sensor: Ints, end: Ints) -> None:
        """Add rows: their windows' sensors and ends (Unix ns)."""
        self.slots = np.concatenate((self.slots, slots))
        self._sensor = np.concatenate((self._sensor, sensor))
        self._end = np.concatenate((self._end, end))

    def take_due(self, due: Ints) -> Ints:
        """Remove and return the rows that end by due[sensor] (Unix ns)."""
        return self.take(self._end <= due[self._sensor])

    def take(self, taken: Bools) -> Ints:
        """Remove and return the rows that a mask over `slots` names."""
        if not taken.any():
            return np.empty(0, np.int64)
        slots = self.slots[taken]
        rest = ~taken
        self.slots, self._sensor, self._end = self.slots[rest], self._sensor[rest], self._end[rest]
        return slots

    def renumber(self, new_slot: Ints) -> None:
        """Replace each slot by new_slot[slot]."""
        self.slots = new_slot[self.slots]
