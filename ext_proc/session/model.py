"""What a session delivers: runs of readings, and notes of what was not a reading.

All of it is in stream order; the journal keeps that order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Series = tuple[tuple[str, str], ...]
"""The table that `series_index` points into: (metric, unit)."""


@dataclass(frozen=True, slots=True)
class SensorProfile:
    """What a session must know of its sensor: where it stands and the unit of each declared metric."""

    sensor_id: str
    site: str
    units: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TimeBounds:
    """What time it is, and which event times are accepted: those outside are quarantined.

    All are Unix ns; both ends are inclusive. Relative times count from `now_unix_ns`.
    """

    earliest_unix_ns: int
    latest_unix_ns: int
    now_unix_ns: int


@dataclass(frozen=True, slots=True)
class Readings:
    """Consecutive readings of one sensor in columns of equal length.

    Reading i has the sequence number `first_seq + i` in `epoch`. `verdict`
    holds values of wire.journal.Verdict.
    """

    sensor_id: str
    site: str
    epoch: int
    first_seq: int
    series: Series
    series_index: NDArray[np.uint32]
    time_unix_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]
    verdict: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.value)

    @property
    def last_seq(self) -> int:
        """Sequence number of the last reading."""
        return self.first_seq + len(self.value) - 1

    def part(self, start: int, stop: int) -> Readings:
        """Return the readings start..stop-1 of this run, without copying."""
        return Readings(
            self.sensor_id,
            self.site,
            self.epoch,
            self.first_seq + start,
            self.series,
            self.series_index[start:stop],
            self.time_unix_ns[start:stop],
            self.value[start:stop],
            self.quality[start:stop],
            self.verdict[start:stop],
        )


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Readings that came again and were trimmed."""

    sensor_id: str
    epoch: int
    count: int


@dataclass(frozen=True, slots=True)
class Hole:
    """Sequence numbers that will never come: first_seq..last_seq, both inclusive."""

    sensor_id: str
    epoch: int
    first_seq: int
    last_seq: int
    reason: str


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Frames or records (or the rest of a body) that could not be read.

    Attributes:
        sensor_id: The sensor.
        epoch: 0 if not known.
        frames: How many, one at least.
        byte_count: Their bytes that came.
        reason: One of a few fixed sentences.
        offset: Where the first of them begins in the body.
        head: The first bytes of that one.
    """

    sensor_id: str
    epoch: int
    frames: int
    byte_count: int
    reason: str
    offset: int = 0
    head: bytes = b""


@dataclass(frozen=True, slots=True)
class NotNumeric:
    """Records that hold no number, so that they are no readings."""

    sensor_id: str
    epoch: int
    records: int
    reason: str


@dataclass(frozen=True, slots=True)
class Interruption:
    """A stream whose device keeps no numbers was opened again: what was measured in between is not known."""

    sensor_id: str
    epoch: int


Delivery = Readings | Duplicates | Hole | Undecodable | NotNumeric | Interruption
