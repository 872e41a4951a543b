"""Durations as people write them: `250ms`, `10s`, `5m`, `1h`, `7d`."""

from __future__ import annotations

import re
from typing import Final

RULE: Final = "must be a whole number and a unit (ms, s, m, h or d), as in 10s"
_DURATION: Final = re.compile(r"([1-9][0-9]{0,8})(ms|s|m|h|d)")
_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def parse_duration_ms(text: str) -> int:
    """Return the milliseconds of a duration; raises ValueError with the rule."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} {RULE}")
    return int(match[1]) * _MS[match[2]]


def format_duration_ms(duration_ms: int) -> str:
    """Return a duration in the largest unit that keeps it whole."""
    unit = next((name for name in ("d", "h", "m", "s") if duration_ms and duration_ms % _MS[name] == 0), "ms")
    return f"{duration_ms // _MS[unit]}{unit}"
