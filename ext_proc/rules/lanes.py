"""What a rule knows of each series (or sensor) that it is about.

A lane is one rule's place for one series. Epochs are kept as the int64 with the
same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from ext_proc.windows.arrays import Bools, Floats, Ints, grown

NEVER: Final = -(2**62)
CLEAR: Final = 0
PENDING: Final = 1
OPEN: Final = 2

INTS: Final = (
    *("place", "phase", "since", "since_epoch", "since_seq"),
    *("anchor", "anchor_epoch", "anchor_seq", "heard"),
)
_DEFAULTS: Final = {"anchor": NEVER}
_UNJUDGED: Final = -2
_NOT_OURS: Final = -1


class Lanes:
    """Columns by lane.

    Attributes:
        place: The series, or the sensor.
        phase: CLEAR, PENDING (the condition holds, not for long enough), or OPEN (an event is open).
        since, since_epoch, since_seq: What the event begins with (Unix ns, and the reading).
        anchor, anchor_epoch, anchor_seq, anchor_value: A reading that the kind remembers; NEVER: none.
        heard: From when silence counts, log time in Unix ns.
    """

    def __init__(self) -> None:
        self.count = 0
        self.place = self.phase = self.since = self.since_epoch = self.since_seq = np.empty(0, np.int64)
        self.anchor = self.anchor_epoch = self.anchor_seq = self.heard = np.empty(0, np.int64)
        self.anchor_value: Floats = np.empty(0)
        self._of_place: Ints = np.empty(0, np.int64)

    def of(self, places: Ints, takes: Callable[[int], bool]) -> Ints:
        """Return the lane of each place, below 0 where the rule does not take it. New ones are CLEAR."""
        if not len(places):
            return places
        self._of_place = grown(self._of_place, int(places.max()) + 1, _UNJUDGED)
        lanes = self._of_place[places]
        unjudged = lanes == _UNJUDGED
        if not unjudged.any():
            return lanes
        for place in np.unique(places[unjudged]).tolist():
            self._of_place[place] = self.add(place) if takes(place) else _NOT_OURS
        return self._of_place[places]

    def add(self, place: int) -> int:
        """Add the lane of a place that has none; return it."""
        lane, self.count = self.count, self.count + 1
        for name in (*INTS, "anchor_value"):
            column = grown(getattr(self, name), self.count)
            column[lane] = _DEFAULTS.get(name, 0)
            setattr(self, name, column)
        self.place[lane] = place
        self._of_place = grown(self._of_place, place + 1, _UNJUDGED)
        self._of_place[place] = lane
        return lane

    def keep(self, kept: Bools) -> None:
        """Drop all lanes but those of a mask; every place that has none is judged anew."""
        for name in (*INTS, "anchor_value"):
            setattr(self, name, getattr(self, name)[: self.count][kept].copy())
        self.count = len(self.place)
        self._of_place[:] = _UNJUDGED
        self._of_place[self.place] = np.arange(self.count)
