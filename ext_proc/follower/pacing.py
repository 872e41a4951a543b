"""When to open streams: back-off after a failure, and a rate for all together. Pure."""

from __future__ import annotations

from typing import Final

_NS: Final = 1_000_000_000


class Backoff:
    """Exponential delays with full jitter, from `first_s` up to `most_s`.

    Jitter after "Exponential Backoff and Jitter" (Brooker, AWS Architecture
    Blog, 2015); half of the delay is kept so that a failing stream never spins.
    """

    def __init__(self, first_s: float = 0.1, most_s: float = 5.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._failures = 0

    def next_s(self, random: float) -> float:
        """Return the delay after one more failure; `random` is uniform in [0, 1)."""
        delay = min(self._most_s, self._first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return delay * (0.5 + random / 2)

    def reset(self) -> None:
        """Begin again after something went well."""
        self._failures = 0


class Pacer:
    """Spaces opens evenly: at most `per_s` a second over all streams."""

    def __init__(self, per_s: float) -> None:
        self._interval_ns = int(_NS / per_s)
        self._next_ns = 0

    def reserve_s(self, now_ns: int) -> float:
        """Take the next slot; return how long to wait for it from the monotonic time `now_ns`."""
        start_ns = max(now_ns, self._next_ns)
        self._next_ns = start_ns + self._interval_ns
        return (start_ns - now_ns) / _NS
