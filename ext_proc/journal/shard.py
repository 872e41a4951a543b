"""An open shard: deliveries in, records appended and folded, window rows appended.

One task does it all in order, so that there is one append in flight and the
fold sees exactly the log.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import nats.errors
import nats.js.errors
import pyarrow as pa
import structlog
from nats.js import JetStreamContext

from ext_proc.journal.append import Appender, sentence
from ext_proc.journal.batch import Batch
from ext_proc.journal.checkpoints import CheckpointTooLargeError, StoredCheckpoint, save_checkpoint
from ext_proc.journal.emitted import EmittedStream
from ext_proc.journal.errors import FencedError, LeaseSupersededError, ShardClosedError
from ext_proc.journal.intake import Intake
from ext_proc.journal.opening import Opened, read_records
from ext_proc.journal.recovery import Position
from ext_proc.journal.schedule import Action, Limits, Load, next_action
from ext_proc.session.cursor import SensorCursor
from ext_proc.session.model import Delivery
from ext_proc.windows.fold import FoldOutput
from wire import names
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.status import ShardAudit

log = structlog.get_logger(__name__)

_NS = 1_000_000_000
_OPEN_TRIES = 50

LivePublisher = Callable[[pa.RecordBatch], Awaitable[None]]
RecordMaker = Callable[[int], journal_pb2.ReadingsRecord]


@dataclass(frozen=True, slots=True)
class ShardSettings:
    """How an open shard writes."""

    limits: Limits = field(default_factory=Limits)
    checkpoint_s: float = 30.0


class ShardJournal:
    """The only writer of one shard while its lease is held.

    Call `open`, then `run` in a task of its own; it ends by `close` or by
    FencedError. `trouble` says why nothing can be appended at present.
    """

    def __init__(
        self, js: JetStreamContext, opened: Opened, settings: ShardSettings, publish_live: LivePublisher
    ) -> None:
        shard = opened.writer.shard
        self._js = js
        self._fold = opened.fold
        self._writer = opened.writer
        self._settings = settings
        self._publish_live = publish_live
        readings = names.readings_stream(shard), names.readings_subject(shard), opened.head
        windows = names.windows_stream(shard), names.windows_subject(shard), opened.windows
        events = names.events_stream(shard), names.events_subject(shard), opened.events
        self._readings = Appender(js, *readings, self._on_trouble)
        self._windows = EmittedStream(js, *windows, self._on_trouble)
        self._events = EmittedStream(js, *events, self._on_trouble)
        self._wake = asyncio.Event()
        self._intake = Intake(shard, settings.limits, self._wake.set)
        self._commands: deque[tuple[RecordMaker, asyncio.Future[None]]] = deque()
        self._last_append_ns = self._last_checkpoint_ns = time.monotonic_ns()
        self._closing = False
        self._ended = False
        self.shard = shard
        self.trouble: str | None = None
        self._cursors: dict[str, SensorCursor] = {}
        self._committed: dict[str, tuple[int, int] | None] = {}
        self._take_cursors()

    @property
    def position(self) -> Position:
        """The furthest place of the readings stream that was acknowledged."""
        return Position(self._writer.generation, self._readings.head)

    @property
    def now_unix_ns(self) -> int:
        """The newest time in the log."""
        return self._writer.now_unix_ns

    def cursor(self, sensor_id: str) -> SensorCursor:
        """Return the sensor's accepted cursor, shared by its sessions as long as the shard is open."""
        return self._cursors.setdefault(sensor_id, SensorCursor())

    def committed(self, sensor_id: str) -> tuple[int, int] | None:
        """Return (epoch, seq) of the newest reading of the sensor that is in the journal."""
        return self._committed.get(sensor_id)

    def audit(self) -> ShardAudit:
        """Return the counters of every sensor, as of the newest record."""
        return self._fold.audit()

    def offer(self, items: Sequence[Delivery]) -> None:
        """Take deliveries of one stream, in order. Raises ShardClosedError; then none was taken."""
        self._intake.offer(items, time.monotonic_ns())

    @property
    def has_room(self) -> bool:
        """Whether more may be offered at once."""
        return self._intake.has_room

    async def room(self) -> None:
        """Wait until more may be offered: the caller must not read on before."""
        await self._intake.room()

    async def flush(self) -> None:
        """Wait until all that was offered is in the journal. Raises ShardClosedError if it never will be."""
        await self._intake.flush()

    async def open(self, policy: config_pb2.WindowPolicy, rules: config_pb2.RuleSet | None = None) -> None:
        """Append OPEN, then the rows that the fold of the log left over; `rules` None: they stay as they are.

        A writer under an older lease may still be appending: what it put into
        the log since is folded, and OPEN tried again, which ends that writer.

        Raises:
            LeaseSupersededError: A newer lease has written meanwhile.
            FencedError: The log lost its end, or the other writer was faster too often.
        """
        for _ in range(_OPEN_TRIES):
            try:
                await self._append(self._writer.open(policy, time.time_ns(), rules))
            except FencedError as fenced:
                await self._catch_up(fenced)
            else:
                return
        raise FencedError(self._readings.stream, self._readings.head, "another writer was always faster")

    async def _catch_up(self, fenced: FencedError) -> None:
        """Fold what another writer appended before our OPEN."""
        if fenced.head <= self._readings.head:
            raise fenced
        try:
            records = await read_records(self._js, self.shard, self._readings.head + 1, fenced.head)
        except nats.js.errors.NotFoundError as error:
            raise fenced from error
        ours = self._writer.lease_generation
        for seq, record in records:
            if record.lease_generation > ours:
                raise LeaseSupersededError(self.shard, ours, record.lease_generation)
            if record.generation != self._writer.generation:
                raise fenced  # opening the shard again finds out
            self._emit(record.generation, seq, self._fold.apply(seq, record))
            self._writer.now_unix_ns = self._fold.now_unix_ns
            self._readings.head = seq
        self._take_cursors()

    def _take_cursors(self) -> None:
        """Begin with the cursors of the fold; nobody may have taken any before."""
        self._cursors = {sensor: SensorCursor(epochs) for sensor, epochs in self._fold.cursors().items()}
        self._committed = {sensor: cursor.newest for sensor, cursor in self._cursors.items()}

    async def renew(
        self,
        lease_generation: int,
        policy: config_pb2.WindowPolicy,
        rules: config_pb2.RuleSet | None = None,
    ) -> None:
        """Append OPEN under a newer lease. Raises ShardClosedError if the shard ends before."""

        def make(now_unix_ns: int) -> journal_pb2.ReadingsRecord:
            self._writer.lease_generation = lease_generation
            return self._writer.open(policy, now_unix_ns, rules)

        await self._command(make)

    async def change_policy(self, policy: config_pb2.WindowPolicy) -> None:
        """Append POLICY. Raises ShardClosedError if the shard ends before."""
        await self._command(lambda now_unix_ns: self._writer.policy(policy, now_unix_ns))

    async def change_rules(self, rules: config_pb2.RuleSet) -> None:
        """Append RULES, if they are not in force. Raises ShardClosedError if the shard ends before."""
        if rules == self._fold.rules:
            return
        await self._command(lambda now_unix_ns: self._writer.rules(rules, now_unix_ns))

    def close(self) -> None:
        """Take nothing more; `run` appends what is here, writes a checkpoint and returns."""
        self._closing = True
        self._intake.close()
        self._wake.set()

    async def run(self) -> None:
        """Write until `close`. Raises FencedError when the shard is not ours any more."""
        try:
            while await self._step():
                pass
            await self._checkpoint()
        finally:
            self._end()

    async def _command(self, make: RecordMaker) -> None:
        if self._ended:
            raise ShardClosedError(self.shard)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._commands.append((make, future))
        self._wake.set()
        await future

    def _end(self) -> None:
        self._ended = True
        self._intake.abandon()
        while self._commands:
            _, future = self._commands.popleft()
            if not future.done():
                future.set_exception(ShardClosedError(self.shard))

    def _on_trouble(self, trouble: str | None) -> None:
        if (trouble is None) != (self.trouble is None):
            log.warning("journal_away" if trouble else "journal_back", shard=self.shard, reason=trouble)
        self.trouble = trouble
        self._intake.hold(trouble is not None)

    async def _step(self) -> bool:
        """Do the next thing; return False when there is nothing left to do for ever."""
        self._wake.clear()
        now_ns = time.monotonic_ns()
        load = Load(
            commands=len(self._commands),
            rows=self._intake.rows,
            oldest_ns=self._intake.oldest_ns,
            last_append_ns=self._last_append_ns,
            flush=self._intake.flush_wanted,
            closing=self._closing,
        )
        action, until_ns = next_action(load, self._settings.limits, now_ns)
        match action:
            case Action.WAIT:
                await self._sleep((until_ns - now_ns) / _NS)
            case Action.COMMAND:
                make, future = self._commands[0]
                await self._append(make(time.time_ns()))
                self._commands.popleft()
                if not future.done():
                    future.set_result(None)
            case Action.BATCH:
                batch = self._intake.take(now_ns)
                if batch is not None:
                    await self._append(self._writer.readings(batch, time.time_ns()), batch)
            case Action.TICK:
                await self._append(self._writer.tick(time.time_ns()))
            case Action.STOP:
                return False
        if now_ns - self._last_checkpoint_ns >= self._settings.checkpoint_s * _NS:
            await self._checkpoint()
        return True

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _append(self, record: journal_pb2.ReadingsRecord, batch: Batch | None = None) -> None:
        """Append a record; then all that follows from its being in the log."""
        seq = await self._readings.append(record.SerializeToString(), record.append_id)
        self._last_append_ns = time.monotonic_ns()
        if batch is not None:
            for (sensor_id, epoch), last in batch.cursors.items():
                self._committed[sensor_id] = (epoch, last)
            self._intake.appended(batch)
        output = self._fold.apply(seq, record)
        self._emit(record.generation, seq, output)
        await self._publish_live(output.live)
        await self._windows.append(self._writer)
        await self._events.append(self._writer)

    def _emit(self, generation: int, seq: int, output: FoldOutput) -> None:
        self._windows.add(generation, seq, output.journalled)
        self._events.add(generation, seq, output.events)

    async def _checkpoint(self) -> None:
        """Write a checkpoint; without one, recovery only takes longer, so failure is not the end."""
        self._last_checkpoint_ns = time.monotonic_ns()
        # In a thread, for a large shard takes a second; nothing is folded before this task goes on.
        checkpoint = await asyncio.to_thread(self._fold.checkpoint)
        stored = StoredCheckpoint(checkpoint, self._windows.head, self._events.head)
        try:
            await save_checkpoint(self._js, stored)
        except (nats.errors.Error, TimeoutError, CheckpointTooLargeError) as error:
            log.warning("checkpoint_failed", shard=self.shard, reason=sentence(error))
