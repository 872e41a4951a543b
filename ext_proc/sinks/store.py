"""Cursors in JetStream's bucket, written behind the deliveries.

A write that fails is tried again with the newest cursor; meanwhile the sink
goes on from the one in memory. A crash before it is written means that some
rows are delivered again, which their keys settle.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import nats.errors
import nats.js.errors
import structlog
from nats.js import JetStreamContext
from nats.js.kv import KeyValue

from ext_proc.journal.append import sentence
from ext_proc.sinks.cursors import StoredCursor
from ext_proc.sinks.model import Kind
from wire.names import CURSORS_BUCKET

log = structlog.get_logger(__name__)

RETRY_S: Final = 0.5
IDLE_S: Final = 10.0  # how often a cursor is written that only moved over records without rows

Key = tuple[Kind, int]


class CursorStore:
    """The cursors of one sink; `run` in a task of its own writes them."""

    def __init__(self, js: JetStreamContext, sink: str) -> None:
        self._js = js
        self._sink = sink
        self._bucket: KeyValue | None = None
        self._unwritten: dict[Key, StoredCursor] = {}
        self._written_at: dict[Key, float] = {}
        self._wake = asyncio.Event()

    async def load(self, kind: Kind, shard: int) -> StoredCursor | None:
        """Return the cursor; None if there is none. Raises nats errors."""
        bucket = await self._open()
        try:
            entry = await bucket.get(self._name((kind, shard)))
        except nats.js.errors.NotFoundError:
            return None
        cursor = StoredCursor.read(entry.value or b"")
        if cursor is None:
            log.error("cursor_unreadable", sink=self._sink, kind=kind, shard=shard)
        return cursor

    def save(self, kind: Kind, shard: int, cursor: StoredCursor, *, idle: bool = False) -> None:
        """Have a cursor written; one that is `idle` not more often than each IDLE_S."""
        key = (kind, shard)
        if idle and time.monotonic() - self._written_at.get(key, 0.0) < IDLE_S:
            return
        self._written_at[key] = time.monotonic()
        self._unwritten[key] = cursor
        self._wake.set()

    async def run(self) -> None:
        """Write what is saved until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.flush()
            except (nats.errors.Error, TimeoutError, OSError) as error:
                log.info("cursor_not_written", sink=self._sink, reason=sentence(error))
                self._bucket = None
                self._wake.set()
                await asyncio.sleep(RETRY_S)

    async def flush(self) -> None:
        """Write everything that is not written. Raises nats errors; the rest is kept."""
        bucket = await self._open()
        while self._unwritten:
            key, cursor = next(iter(self._unwritten.items()))
            await bucket.put(self._name(key), cursor.model_dump_json().encode())
            if self._unwritten.get(key) is cursor:
                del self._unwritten[key]

    def _name(self, key: Key) -> str:
        kind, shard = key
        return f"{self._sink}.{kind}.{shard}"

    async def _open(self) -> KeyValue:
        if self._bucket is None:
            try:
                self._bucket = await self._js.key_value(CURSORS_BUCKET)
            except nats.js.errors.NotFoundError:
                self._bucket = await self._js.create_key_value(bucket=CURSORS_BUCKET)
        return self._bucket
