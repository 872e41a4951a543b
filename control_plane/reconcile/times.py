"""Times as the API shows them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_NS: Final = 1_000_000_000


def utc(unix_ns: int) -> datetime:
    """Return a time to the microsecond."""
    return datetime.fromtimestamp(unix_ns // _NS, UTC).replace(microsecond=unix_ns % _NS // 1000)
