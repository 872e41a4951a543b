"""The rows of all shards on their way into common POSTs, within one budget."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import pyarrow as pa

from ext_proc.sinks.errors import RetryableSinkError, SinkError
from ext_proc.sinks.powerbi.budget import Budget
from ext_proc.sinks.powerbi.errors import RowsTooLargeError
from ext_proc.sinks.powerbi.rows import encode

NS: Final = 1_000_000_000


class Clock(Protocol):
    """Time, and waiting for it."""

    def monotonic_ns(self) -> int:
        """Return a time that never goes back."""

    def unix_ns(self) -> int:
        """Return the time of day."""

    async def sleep(self, delay_ns: int) -> None:
        """Wait."""


class SystemClock:
    """The machine's clock."""

    def monotonic_ns(self) -> int:
        """Return time.monotonic_ns()."""
        return time.monotonic_ns()

    def unix_ns(self) -> int:
        """Return time.time_ns()."""
        return time.time_ns()

    async def sleep(self, delay_ns: int) -> None:
        """Wait for `delay_ns`."""
        await asyncio.sleep(delay_ns / NS)


@dataclass(eq=False, slots=True)
class Parcel:
    """Rows of one shard to be posted in order. `sent` of them were accepted; it survives errors."""

    rows: pa.Table
    sent: int = 0
    error: SinkError | None = None

    @property
    def due(self) -> int:
        """How many rows are still to be sent; none after an error."""
        return 0 if self.error else int(self.rows.num_rows) - self.sent


class Outbox:
    """Posts the parcels of the shards, one POST at a time.

    One at a time keeps the revisions of a window in order, and is far from the
    five POSTs that may be pending. Of the callers that wait, whoever gets the
    lock posts for all: so a POST carries rows of many shards, and there is no
    task in the background whose failure nobody would hear of.
    """

    def __init__(self, budget: Budget, clock: Clock, post: Callable[[bytes], Awaitable[None]]) -> None:
        self._budget = budget
        self._clock = clock
        self._post = post
        self._parcels: list[Parcel] = []
        self._posting = asyncio.Lock()

    def room(self) -> int:
        """Return how many more rows could be sent now, after those that wait."""
        waiting = sum(parcel.due for parcel in self._parcels)
        return max(0, self._budget.affordable(self._clock.monotonic_ns()) - waiting)

    async def send(self, parcel: Parcel) -> None:
        """Return when every row of `parcel` was accepted.

        Raises what the POST of any of its rows raised; `parcel.sent` says from where to go on. A POST
        that was answered with a RetryableSinkError may have been applied: its rows are then sent twice.
        """
        parcel.error = None
        self._parcels.append(parcel)
        try:
            while parcel.due:
                async with self._posting:
                    if parcel.due:
                        await self._post_next()
        finally:
            self._parcels.remove(parcel)
        if parcel.error:
            raise parcel.error

    async def _post_next(self) -> None:
        parts, count = await self._allowed()
        body = encode(pa.concat_tables([parcel.rows.slice(parcel.sent, n) for parcel, n in parts]))
        self._budget.sent(count, self._clock.monotonic_ns())
        try:
            await self._post(body)
        except SinkError as error:
            self._learn(error, count)
            for parcel, _ in parts:
                parcel.error = error
        else:
            for parcel, n in parts:
                parcel.sent += n

    async def _allowed(self) -> tuple[list[tuple[Parcel, int]], int]:
        """Wait until the budget allows a POST; return what it carries, oldest parcels first."""
        while True:
            waiting = sum(parcel.due for parcel in self._parcels)
            count, wait_ns = self._budget.next_post(waiting, self._clock.monotonic_ns())
            if not wait_ns:
                return self._first(count), count
            await self._clock.sleep(wait_ns)

    def _first(self, count: int) -> list[tuple[Parcel, int]]:
        parts = []
        for parcel in self._parcels:
            if n := min(count, parcel.due):
                parts.append((parcel, n))
                count -= n
        return parts

    def _learn(self, error: SinkError, count: int) -> None:
        if isinstance(error, RowsTooLargeError):
            self._budget.too_large(count)
        elif isinstance(error, RetryableSinkError) and error.retry_after_s is not None:
            self._budget.refused(int(error.retry_after_s * NS), self._clock.monotonic_ns())
