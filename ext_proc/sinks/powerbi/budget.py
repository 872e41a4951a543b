"""How much may be posted when: the published limits of push semantic models. Pure.

The limits count for every window of a minute or an hour at the service. A POST
arrives there up to `grace` after it was sent, so a minute there holds at most
what was sent in a minute and `grace` here: both rates are divided by that.

A sink that starts does not know what it sent before it ended. It begins with a
fiftieth of a limit, and five fiftieths are set aside: with up to five restarts
within an hour nothing is exceeded, and nothing need be remembered on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_ROWS_PER_POST: Final = 10_000
MAX_POSTS_PER_MINUTE: Final = 120
MAX_ROWS_PER_HOUR: Final = 1_000_000
RESTARTS: Final = 5  # of the sink within an hour

_S: Final = 1_000_000_000
_MINUTE_NS: Final = 60 * _S
_HOUR_NS: Final = 3600 * _S


class Bucket:
    """A token bucket in whole nanoseconds: at most `burst`, one more every `interval_ns`.

    What is taken within any span of D ns is at most burst + D / interval_ns. It is kept as the time
    at which the bucket will be full ("generic cell rate algorithm", ITU-T I.371): no rounding piles up.
    """

    def __init__(self, burst: int, level: int, interval_ns: int, now_ns: int) -> None:
        self.burst = burst
        self.interval_ns = interval_ns
        self._full_at_ns = now_ns + (burst - level) * interval_ns

    def level(self, now_ns: int) -> int:
        """Return how many may be taken at `now_ns`."""
        missing_ns = max(0, self._full_at_ns - now_ns)
        return max(0, self.burst - -(-missing_ns // self.interval_ns))

    def wait_ns(self, count: int, now_ns: int) -> int:
        """Return how long after `now_ns` `count` may be taken; `count` is at most `burst`."""
        return max(0, self._full_at_ns - now_ns - (self.burst - count) * self.interval_ns)

    def take(self, count: int, now_ns: int) -> None:
        """Take `count`, which wait_ns allows."""
        self._full_at_ns = max(self._full_at_ns, now_ns) + count * self.interval_ns


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one push semantic model, or less where others write to it too.

    `grace_ns` is how long a POST may be under way to the service.
    """

    rows_per_post: int = MAX_ROWS_PER_POST
    posts_per_minute: int = MAX_POSTS_PER_MINUTE
    rows_per_hour: int = MAX_ROWS_PER_HOUR
    grace_ns: int = 30 * _S


class Budget:
    """When the next POST may be sent, and how many rows it may carry.

    A tenth of a limit may come at once, another is set aside for restarts, the rest comes evenly: with
    the published limits and 30 s of grace 12 POSTs and then 1.1 a second, 100,000 rows and then 220 a second.
    """

    def __init__(self, limits: Limits, now_ns: int) -> None:
        self._rows_per_post = limits.rows_per_post
        self._posts = _bucket(limits.posts_per_minute, _MINUTE_NS + limits.grace_ns, now_ns)
        self._rows = _bucket(limits.rows_per_hour, _HOUR_NS + limits.grace_ns, now_ns)
        self._trickle = max(1, _S // self._rows.interval_ns)
        self._refused_until_ns = now_ns

    def affordable(self, now_ns: int) -> int:
        """Return how many rows could be sent without waiting for more."""
        return self._rows.level(now_ns)

    def next_post(self, rows: int, now_ns: int) -> tuple[int, int]:
        """Return how many of `rows` waiting rows the next POST carries, and how long to wait for it, in ns.

        When the hour's rows are scarce a POST waits for a second's worth of them, not for all.
        """
        ready = max(self._rows.level(now_ns), self._trickle)
        count = min(rows, self._rows_per_post, ready, self._rows.burst)
        wait_ns = max(
            self._posts.wait_ns(1, now_ns), self._rows.wait_ns(count, now_ns), self._refused_until_ns - now_ns
        )
        return count, max(0, wait_ns)

    def sent(self, rows: int, now_ns: int) -> None:
        """Account for a POST of `rows`, whatever becomes of it."""
        self._posts.take(1, now_ns)
        self._rows.take(rows, now_ns)

    def refused(self, retry_after_ns: int, now_ns: int) -> None:
        """Send nothing before Retry-After is over."""
        self._refused_until_ns = max(self._refused_until_ns, now_ns + retry_after_ns)

    def too_large(self, rows: int) -> None:
        """Make POSTs smaller: the service refused the size of one with `rows`."""
        self._rows_per_post = max(1, min(self._rows_per_post, rows // 2))


def _bucket(limit: int, span_ns: int, now_ns: int) -> Bucket:
    """Return a bucket that lets at most `limit` through in any `span_ns`, RESTARTS included."""
    burst, start = max(1, limit // 10), limit // 50
    evenly = limit - burst - RESTARTS * start
    return Bucket(burst, start, -(-span_ns // evenly), now_ns)
