"""What sessions deliver to a shard until it is in the journal: bounded, in order, accounted for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from ext_proc.journal.batch import Batch, Batcher
from ext_proc.journal.errors import ShardClosedError
from ext_proc.journal.schedule import Limits
from ext_proc.session.model import Delivery

_QUEUED_BATCHES: Final = 4  # what may wait beside the batch in flight
_MAX_BATCH_BYTES: Final = 4 << 20  # half of the server's max_payload


class Intake:
    """A queue between the sessions of a shard and its writer.

    `held` is true while the journal does not take appends: then there is no
    room, so the sessions stop reading and the agents' spools absorb.

    Args:
        shard: The shard, for errors.
        limits: Size of a batch.
        on_work: Called when the writer has something to look at.
    """

    def __init__(self, shard: int, limits: Limits, on_work: Callable[[], None]) -> None:
        self._shard = shard
        self._batch_rows = limits.batch_rows
        self._batcher = Batcher(limits.batch_rows, _MAX_BATCH_BYTES)
        self._on_work = on_work
        self._room = asyncio.Event()
        self._room.set()
        self._held = False
        self._closed = False
        self._appended = 0
        self._flushes: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.oldest_ns = 0

    @property
    def rows(self) -> int:
        """Rows (and notes) that no batch holds yet."""
        return self._batcher.pending

    @property
    def flush_wanted(self) -> bool:
        """Say whether someone waits for what is here."""
        return bool(self._flushes)

    def offer(self, items: Sequence[Delivery], now_ns: int) -> None:
        """Queue deliveries of one stream. Raises ShardClosedError; then none was taken.

        `now_ns` is a monotonic time.
        """
        if self._closed:
            raise ShardClosedError(self._shard)
        was = self._batcher.pending
        if not was:
            self.oldest_ns = now_ns
        for item in items:
            self._batcher.offer(item)
        if not was or self._batcher.pending >= self._batch_rows:
            self._on_work()
        self._measure()

    @property
    def has_room(self) -> bool:
        """Whether more may be offered; true when closed, so that `offer` says so."""
        return self._room.is_set()

    async def room(self) -> None:
        """Wait until more may be offered; returns at once when closed, so that `offer` says so."""
        await self._room.wait()

    async def flush(self) -> None:
        """Wait until all that was offered is in the journal. Raises ShardClosedError if it never will be."""
        ticket = self._batcher.offered
        if ticket <= self._appended:
            return
        if self._closed:
            raise ShardClosedError(self._shard)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flushes.append((ticket, future))
        self._on_work()
        await future

    def take(self, now_ns: int) -> Batch | None:
        """Return the next batch. What is left is as old as `now_ns` from here on."""
        batch = self._batcher.take()
        self.oldest_ns = now_ns
        self._measure()
        return batch

    def appended(self, batch: Batch) -> None:
        """Note that `batch` is in the journal."""
        self._appended = batch.ticket
        while self._flushes and self._flushes[0][0] <= batch.ticket:
            _, future = self._flushes.popleft()
            if not future.done():
                future.set_result(None)

    def hold(self, held: bool) -> None:
        """Take away all room, or give it back."""
        self._held = held
        self._measure()

    def close(self) -> None:
        """Refuse offers from here on; what was taken before can still be appended."""
        self._closed = True
        self._measure()

    def abandon(self) -> None:
        """Close, and tell everyone who waits that it will not be appended."""
        self.close()
        while self._flushes:
            _, future = self._flushes.popleft()
            if not future.done():
                future.set_exception(ShardClosedError(self._shard))

    def _measure(self) -> None:
        full = self._batcher.pending >= _QUEUED_BATCHES * self._batch_rows
        if self._closed or not (full or self._held):
            self._room.set()
        else:
            self._room.clear()
