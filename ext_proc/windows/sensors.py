"""What the fold knows of each sensor: cursors, watermark, audit counters."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from wire.status import SensorAudit

Ints = npt.NDArray[np.int64]

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
EPOCHS_KEPT: Final = 8
NO_WATERMARK: Final = -(2**62)


class Sensors:
    """Sensors by index, in the order in which the log named them first."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.sites: list[str] = []
        self.cursors: list[dict[int, int]] = []  # epoch -> highest seq, oldest epoch first
        self._index: dict[str, int] = {}
        self.watermark: Ints = np.empty(0, np.int64)  # highest aggregated event time, Unix ns
        self.last_seen: Ints = np.empty(0, np.int64)  # log time of the last record with readings
        self.counters: Ints = np.empty((0, len(COUNTERS)), np.int64)

    def index(self, name: str) -> int:
        """Return the index of a sensor; a new one gets the next."""
        found = self._index.get(name)
        if found is None:
            found = self._index[name] = len(self.names)
            self.names.append(name)
            self.sites.append("")
            self.cursors.append({})
            self.watermark = np.append(self.watermark, NO_WATERMARK)
            self.last_seen = np.append(self.last_seen, 0)
            self.counters = np.vstack((self.counters, np.zeros((1, len(COUNTERS)), np.int64)))
        return found

    def count(self, sensor: int, counter: str, by: int) -> None:
        """Add to one counter of one sensor."""
        self.counters[sensor, COUNTERS.index(counter)] += by

    def count_each(self, sensors: Ints, counter: str) -> None:
        """Add one to a counter for each entry of `sensors` (indexes, repeats count)."""
        if len(sensors):
            self.counters[:, COUNTERS.index(counter)] += np.bincount(sensors, minlength=len(self.names))

    def cursor(self, sensor: int, epoch: int) -> int:
        """Return the highest sequence number seen of an epoch, 0 for a new one."""
        return self.cursors[sensor].get(epoch, 0)

    def advance(self, sensor: int, epoch: int, seq: int) -> None:
        """Move a cursor forward; the oldest epoch beyond EPOCHS_KEPT is forgotten."""
        cursors = self.cursors[sensor]
        cursors[epoch] = max(cursors.get(epoch, 0), seq)
        while len(cursors) > EPOCHS_KEPT:
            del cursors[next(iter(cursors))]

    def audit(self) -> list[SensorAudit]:
        """Return the counters of every sensor."""
        return [
            SensorAudit(sensor_id=name, **dict(zip(COUNTERS, map(int, row), strict=True)))
            for name, row in zip(self.names, self.counters, strict=True)
        ]
