"""What became of every reading, by sensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from ext_proc.windows.arrays import Ints, grown
from wire.status import SensorAudit

COUNTERS: Final = (
    "received",
    "aggregated",
    "duplicate",
    "quarantined",
    "too_late",
    "excluded",
    "undecodable_frames",
    "gaps",
    "gap_readings",
)
_MOST: Final = 2**63 - 1


class AuditCounters:
    """Counters by sensor; received = aggregated + duplicate + quarantined + too_late + excluded."""

    def __init__(self) -> None:
        self.rows: Ints = np.empty((0, len(COUNTERS)), np.int64)

    def reserve(self, sensors: int) -> None:
        """Make room for sensors 0..sensors-1, at zero."""
        self.rows = grown(self.rows, sensors, 0)

    def count(self, counter: str, sensor: int, by: int) -> None:
        """Add to one counter of one sensor; it stops at 2**63 - 1."""
        place = sensor, COUNTERS.index(counter)
        self.rows[place] = min(_MOST, int(self.rows[place]) + by)

    def count_each(self, counter: str, sensors: Ints, by: Ints) -> None:
        """Add by[i] to a counter of sensors[i]; a sensor may come more than once."""
        np.add.at(self.rows[:, COUNTERS.index(counter)], sensors, by)

    def report(self, names: Sequence[str]) -> list[SensorAudit]:
        """Return the counters of every sensor, given their names by index."""
        return [
            SensorAudit(sensor_id=name, **dict(zip(COUNTERS, row, strict=True)))
            for name, row in zip(names, self.rows[: len(names)].tolist(), strict=True)
        ]
