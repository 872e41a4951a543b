"""How far a sink is behind, and how near to losing records. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ALARM_SHARE: Final = 0.5
_NS: Final = 1_000_000_000
_WEIGHT: Final = 0.02  # of the newest record in the mean


@dataclass(frozen=True, slots=True)
class StreamSize:
    """A stream at one moment. `max_age_s` and `max_bytes` are 0 or less without a limit."""

    first_seq: int
    last_seq: int
    bytes: int
    max_age_s: float
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Lag:
    """What was not delivered yet: rows (of records that were not read yet: estimated), and since when."""

    rows: int
    seconds: float


class RowsPerRecord:
    """The mean of the last records, to guess what those hold that were not read yet."""

    def __init__(self) -> None:
        self._mean: float | None = None

    def saw(self, rows: int) -> None:
        """Take note of a record."""
        self._mean = rows if self._mean is None else self._mean + _WEIGHT * (rows - self._mean)

    def guess(self, records: int) -> int:
        """Return the rows of `records` records; before any was seen, one each."""
        return round(records * (1.0 if self._mean is None else self._mean))


def lag_s(oldest_unix_ns: int | None, now_unix_ns: int) -> float:
    """Return how long the oldest record that waits has waited; 0 if none does."""
    return 0.0 if oldest_unix_ns is None else max(0.0, (now_unix_ns - oldest_unix_ns) / _NS)


def retention_share(size: StreamSize, cursor_seq: int, waited_s: float) -> float:
    """Return how much of what the stream may keep is not delivered yet, from 0 to 1, by age or by bytes."""
    retained = size.last_seq - size.first_seq + 1
    waiting = size.last_seq - max(cursor_seq, size.first_seq - 1)
    if retained <= 0 or waiting <= 0:
        return 0.0
    by_age = waited_s / size.max_age_s if size.max_age_s > 0 else 0.0
    by_bytes = size.bytes * waiting / retained / size.max_bytes if size.max_bytes > 0 else 0.0
    return max(by_age, by_bytes)


def retention_alarm(stream: str, share: float) -> str | None:
    """Return a sentence if half of the retention is used up."""
    if share < ALARM_SHARE:
        return None
    return f"{stream}: {share:.0%} of what it keeps waits for this sink; what is older is discarded unread"
