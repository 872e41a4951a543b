"""One stream to the target: read, gather, deliver, move the cursor. One task, so rows keep their order."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import nats.errors
import structlog
from nats.aio.client import Client

from ext_proc.ending import end
from ext_proc.journal.append import sentence
from ext_proc.sinks.backoff import Backoff
from ext_proc.sinks.batch import Gathering
from ext_proc.sinks.cursors import Start, StoredCursor, resume_from
from ext_proc.sinks.dead_letters import DeadLetters
from ext_proc.sinks.errors import RetryableSinkError, SinkError, TerminalSinkError
from ext_proc.sinks.lag import Lag, RowsPerRecord, lag_s, retention_alarm, retention_share
from ext_proc.sinks.model import Chunk, DeadRow, Delivered, Kind, OwnsCursor, Position, Target
from ext_proc.sinks.reader import NotYetError, StreamLostError, StreamReader
from ext_proc.sinks.records import Damaged
from ext_proc.sinks.store import CursorStore

log = structlog.get_logger(__name__)

READ_S: Final = 1.0  # how long a read waits at most when nothing is due
NOT_YET_S: Final = 0.25
SLOW_S: Final = 30.0  # between tries while only someone's act can help
SURVEY_S: Final = 5.0

State = Literal["running", "retrying", "failed"]
T = TypeVar("T")

_AWAY = (nats.errors.Error, TimeoutError, OSError)  # NATS does not answer, or answers that it cannot


@dataclass(frozen=True, slots=True)
class Tools:
    """What the pumps of a sink share. `started` is set once the target is."""

    client: Client
    target: Target
    store: CursorStore
    dead_letters: DeadLetters
    started: asyncio.Event


@dataclass(slots=True)
class Counts:
    """Since the process began. `gaps` counts times that records were discarded unread."""

    rows: int = 0
    dead: int = 0
    given_up: int = 0
    gaps: int = 0


class Pump:
    """Delivers the stream of one kind and shard.

    Attributes:
        state, message: How it goes; a message with "running" is no trouble of the target's.
        counts: What was done.
    """

    def __init__(self, tools: Tools, kind: Kind, shard: int) -> None:
        self._tools = tools
        self._kind: Kind = kind
        self._shard = shard
        self._reader = StreamReader(tools.client, kind, shard, None)
        self._gathering = Gathering(tools.target.limits)
        self._per_record = RowsPerRecord()
        self._cursor: Position | None = None
        self._rows_at: Position | None = None
        self._now_unix_ns: int | None = None  # the journal's time at the cursor
        self._in_flight: tuple[int, int] | None = None  # (rows, the journal's time of the first)
        self._alarm: str | None = None
        self._overtaken: str | None = None
        self._trouble: str | None = None
        self.state: State = "running"
        self.counts = Counts()

    @property
    def message(self) -> str | None:
        """What is to be known: the present trouble, else how near a gap is, else the last gap."""
        return self._trouble or self._alarm or self._overtaken

    def lag(self, now_unix_ns: int) -> Lag:
        """Return what was not delivered yet."""
        rows, oldest = self._in_flight or (0, None)
        if oldest is None:
            oldest = self._gathering.oldest_unix_ns
        if oldest is None and self._reader.pending:
            oldest = self._now_unix_ns
        rows += self._gathering.rows + self._per_record.guess(self._reader.pending)
        return Lag(rows, lag_s(oldest, now_unix_ns))

    async def run(self) -> None:
        """Deliver until cancelled; only what nothing foresaw ends it."""
        if isinstance(self._tools.target, OwnsCursor):
            await self._tools.started.wait()
        await self._persist(self._load)
        survey = asyncio.create_task(self._survey())
        try:
            await self._tools.started.wait()
            await self._persist(self._follow)
        finally:
            await end(survey)
            await self._reader.close()

    async def _load(self) -> None:
        """Find out where to begin."""
        stored = await self._tools.store.load(self._kind, self._shard)
        target = self._tools.target
        if isinstance(target, OwnsCursor):
            owned = await target.cursor(self._kind, self._shard)
            position, self._rows_at = resume_from(stored, owned), owned
        else:
            position, self._rows_at = (stored.position, stored.rows_at) if stored else (None, None)
        self._cursor = self._reader.position = position
        if stored is not None and position == stored.position:
            self._now_unix_ns = stored.now_unix_ns

    async def _follow(self) -> None:
        """Read and deliver; ends by an error."""
        start = await self._reader.open()
        self._opened(start)
        if start.rewound:
            await self._flush()  # what was gathered comes before what is read again
        while True:
            found = await self._reader.next(self._until_due())
            self._say("running", None)
            if found is not None:
                await self._take(found)
            if self._gathering.due(time.monotonic()):
                await self._flush()

    def _until_due(self) -> float:
        due_at = self._gathering.due_at
        return READ_S if due_at is None else max(0.0, min(READ_S, due_at - time.monotonic()))

    def _opened(self, start: Start) -> None:
        if start.gap is not None:
            self._gap(*start.gap)
        if start.rewound:
            log.error(
                "cursor_rewound",
                stream=self._reader.stream,
                cursor=self._cursor and self._cursor.seq,
                from_seq=start.seq,
            )

    async def _take(self, found: Chunk | Damaged) -> None:
        while self._reader.skipped:
            self._gap(*self._reader.skipped.pop(0))
        chunk = found.chunk if isinstance(found, Damaged) else found
        if isinstance(found, Damaged):
            log.error("record_damaged", stream=self._reader.stream, seq=chunk.seq, reason=found.reason)
            row = {"generation": chunk.generation, "journal_seq": chunk.seq}
            await self._bury((DeadRow(row, f"damaged record: {found.reason}"),))
        if not self._gathering.fits(chunk):
            await self._flush()
        self._per_record.saw(chunk.rows.num_rows)
        self._gathering.add(chunk, time.monotonic())
        if self._gathering.due_at is None:
            await self._flush()  # nothing but the cursor moves

    async def _flush(self) -> None:
        """Deliver what was gathered, however long it takes; then move the cursor."""
        batch = self._gathering.take()
        if batch is None:
            return
        if batch.chunks:
            self._in_flight = batch.rows, batch.chunks[0].now_unix_ns
            delivered = await self._persist(lambda: self._tools.target.deliver(batch.chunks))
            await self._bury(delivered.dead)
            self._count(delivered)
            self._in_flight = None
            self._rows_at = batch.chunks[-1].position
        self._cursor = batch.last.position
        self._now_unix_ns = batch.last.now_unix_ns
        stored = StoredCursor(position=self._cursor, rows_at=self._rows_at, now_unix_ns=self._now_unix_ns)
        self._tools.store.save(self._kind, self._shard, stored, idle=not batch.chunks)

    def _count(self, delivered: Delivered) -> None:
        self.counts.rows += delivered.rows
        self.counts.dead += len(delivered.dead)
        self.counts.given_up += delivered.given_up

    async def _bury(self, rows: Sequence[DeadRow]) -> None:
        if rows:
            log.error("dead_letters", stream=self._reader.stream, rows=len(rows), reason=rows[0].reason)
            await self._persist(lambda: self._tools.dead_letters.put(self._kind, self._shard, rows))

    async def _persist(self, act: Callable[[], Awaitable[T]]) -> T:
        """Return what `act` does once it succeeds, waiting longer from try to try."""
        backoff = Backoff(first_s=0.25, most_s=SLOW_S)
        while True:
            try:
                result = await act()
            except NotYetError as error:
                self._say("running", str(error))
                wait_s = NOT_YET_S
            except StreamLostError as error:
                log.info("stream_lost", reason=str(error))
                wait_s = NOT_YET_S
            except SinkError as error:
                wait_s = self._failed(error, backoff)
            except _AWAY as error:
                self._say("retrying", f"NATS, {self._reader.stream}: {sentence(error)}")
                wait_s = min(backoff.wait_s(random.random()), 2.0)
            else:
                self._say("running", None)
                return result
            await asyncio.sleep(wait_s)

    def _failed(self, error: SinkError, backoff: Backoff) -> float:
        """Say what the target said; return how long to wait."""
        if isinstance(error, TerminalSinkError):
            self._say("failed", error.reason)
            return SLOW_S * (0.5 + 0.5 * random.random())
        self._say("retrying", error.reason)
        wait_s = backoff.wait_s(random.random())
        if isinstance(error, RetryableSinkError) and error.retry_after_s is not None:
            wait_s = max(error.retry_after_s, 0.0)
        return wait_s

    def _say(self, state: State, trouble: str | None) -> None:
        if (state, trouble) != (self.state, self._trouble) and (
            state != "running" or self.state != "running"
        ):
            tell = log.error if state == "failed" else log.warning if state == "retrying" else log.info
            tell(f"sink_{state}", stream=self._reader.stream, reason=trouble)
        self.state, self._trouble = state, trouble

    def _gap(self, first: int, last: int) -> None:
        self.counts.gaps += 1
        self._overtaken = (
            f"{self._reader.stream}: records {first} to {last} were discarded before they were read"
        )
        log.error("retention_gap", stream=self._reader.stream, first=first, last=last)

    async def _survey(self) -> None:
        """Look at the stream now and then: how far it is ahead, and whether it discards soon."""
        while True:
            try:
                size = await self._reader.size()
            except _AWAY:
                await asyncio.sleep(SURVEY_S)
                continue
            read = self._reader.position
            self._reader.pending = max(0, size.last_seq - (read.seq if read else size.first_seq - 1))
            waited_s = self.lag(time.time_ns()).seconds
            share = retention_share(size, self._cursor.seq if self._cursor else 0, waited_s)
            alarm = retention_alarm(self._reader.stream, share)
            if alarm and not self._alarm:
                log.error("retention_alarm", stream=self._reader.stream, share=round(share, 2))
            self._alarm = alarm
            await asyncio.sleep(SURVEY_S)
