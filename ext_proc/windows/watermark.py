"""The clocks of each sensor: event time and log time, kept apart (docs/adr/0009)."""

from __future__ import annotations

from typing import Final

import numpy as np

from ext_proc.windows.arrays import Bools, Ints, grown

NEVER: Final = -(2**62)  # before every time; a horizon can be taken from it


class Watermarks:
    """By sensor, all in Unix ns.

    Attributes:
        highest: The watermark: the highest event time of the sensor's aggregated readings.
        closed: No reading before this event time is accepted any more: the highest that
            watermark - horizon ever was. It stays if a policy widens the horizon, for the
            windows before it are gone.
        seen: Log time of the last record with readings of the sensor.
    """

    def __init__(self) -> None:
        self.highest: Ints = np.empty(0, np.int64)
        self.closed: Ints = np.empty(0, np.int64)
        self.seen: Ints = np.empty(0, np.int64)

    def reserve(self, sensors: int) -> None:
        """Make room for sensors 0..sensors-1."""
        self.highest = grown(self.highest, sensors, NEVER)
        self.closed = grown(self.closed, sensors, NEVER)
        self.seen = grown(self.seen, sensors, NEVER)

    def in_time(self, sensor: Ints, time: Ints) -> Bools:
        """Say which readings are not too late."""
        return time >= self.closed[sensor]

    def see(self, sensor: Ints, now_unix_ns: int) -> None:
        """Note that a record of this log time has readings of these sensors."""
        self.seen[sensor] = now_unix_ns

    def advance(self, sensor: Ints, time: Ints, horizon_ns: int) -> None:
        """Move over aggregated readings. Neither watermark nor `closed` ever goes back."""
        np.maximum.at(self.highest, sensor, time)
        closed = np.maximum(self.highest[sensor], NEVER) - horizon_ns
        self.closed[sensor] = np.maximum(self.closed[sensor], closed)

    def due(self, now_unix_ns: int, idle_close_ns: int | None) -> Ints:
        """Return by sensor up to which end its windows are to be emitted.

        That is the watermark. With `idle_close_ns`, windows of a sensor that
        has been silent for so long are also emitted if they ended so long ago
        by the log's clock, and the watermark stays where it is.
        """
        if idle_close_ns is None:
            return self.highest
        limit = max(now_unix_ns - idle_close_ns, NEVER)
        return np.where(self.seen <= limit, np.maximum(self.highest, limit), self.highest)
