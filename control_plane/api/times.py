"""Times and durations as people write them in a query. Pure: `now` is an argument."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000
LAST_NS: Final = (1 << 63) - 1  # in 2262

DURATION_PATTERN: Final = r"^[1-9][0-9]{0,8}(ms|s|m|h|d)$"
SIZE_RULE: Final = "must be a duration such as 500ms, 10s, 60s or 5m, at most 1d"
MOMENT_RULE: Final = "must be a time (RFC 3339, with Z or an offset) or how long ago, such as 10m, 24h or 7d"

_DURATION: Final = re.compile(r"([1-9][0-9]{0,8})(ms|s|m|h|d)")
_RFC3339: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
_UNIT_NS: Final = {
    "ms": NS_PER_MS,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
    "d": 86_400 * NS_PER_S,
}
_DAY_MS: Final = 86_400_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def duration_ns(text: str) -> int | None:
    """Return a duration such as `10s` in nanoseconds; None if it is none."""
    match = _DURATION.fullmatch(text)
    return int(match[1]) * _UNIT_NS[match[2]] if match else None


def size_ms(text: str) -> int:
    """Return a window size in milliseconds. Raises ValueError with the rule."""
    duration = duration_ns(text)
    if duration is None or duration > _DAY_MS * NS_PER_MS:
        raise ValueError(SIZE_RULE)
    return duration // NS_PER_MS


def moment_ns(text: str, now_unix_ns: int) -> int:
    """Return a time, or the time that long before now, as Unix nanoseconds (within 0 and LAST_NS).

    Raises ValueError with the rule.
    """
    duration = duration_ns(text)
    if duration is not None:
        return max(0, now_unix_ns - duration)
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(MOMENT_RULE)
    try:
        whole = datetime.fromisoformat((match[1] + match[3]).upper())
        seconds = (whole - _EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError) as error:
        raise ValueError(MOMENT_RULE) from error
    return min(LAST_NS, max(0, seconds * NS_PER_S + int((match[2] or "").ljust(9, "0"))))
