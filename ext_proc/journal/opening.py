"""Opening a shard: reading what its streams hold and folding up to their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import nats.errors
import nats.js.errors
import structlog
from google.protobuf.message import DecodeError, Message
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamState

from ext_proc.journal.checkpoints import load_checkpoint
from ext_proc.journal.emitted import EmittedAt, read_coverage
from ext_proc.journal.errors import LeaseSupersededError
from ext_proc.journal.pending import MAX_EVENTS, PendingWindows
from ext_proc.journal.recovery import Findings, Plan, Position, RecordMark, plan
from ext_proc.journal.streams import Retention, ensure_streams, generation_of, put_generation
from ext_proc.journal.writer import RecordWriter
from ext_proc.windows.fold import Fold
from wire import names
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import JournalFormatError, check_schema

log = structlog.get_logger(__name__)

_FETCH: Final = 64
_FETCH_TIMEOUT_S: Final = 5.0


class ReplayStalledError(RuntimeError):
    """The readings stream ended before the sequence that it named as its last."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A shard folded up to the end of its log, not yet written to.

    `writer` holds the generation, the lease and the newest time.
    """

    fold: Fold
    writer: RecordWriter
    head: int
    windows: EmittedAt
    events: EmittedAt


async def open_shard(
    js: JetStreamContext,
    shard: int,
    writer: str,
    lease_generation: int,
    *,
    known: Position | None,
    retention: Retention,
) -> Opened:
    """Read and fold a shard.

    Args:
        js: JetStream.
        shard: The shard.
        writer: The worker's node id.
        lease_generation: The lease under which it will be written.
        known: The furthest place that this worker saw acknowledged before.
        retention: For streams that are made.

    Raises:
        LeaseSupersededError: A newer lease has written already.
        JournalFormatError: A record cannot be read by this version.
        nats.errors.Error: JetStream is away.
    """
    await ensure_streams(js, shard, retention)
    found = await _findings(js, shard, known)
    if found.last is not None and found.last.lease_generation > lease_generation:
        raise LeaseSupersededError(shard, lease_generation, found.last.lease_generation)
    decided = plan(found)
    if decided.rolled_back:
        log.error("journal_rolled_back", shard=shard, ends_at=found.last_seq, generation=decided.generation)
    if decided.generation != found.settings_generation:
        await put_generation(js, shard, decided.generation)
    windows, events = PendingWindows(found.coverage), PendingWindows(found.events_coverage, MAX_EVENTS)
    fold = await _fold(js, shard, found, decided, windows=windows, events=events)
    log.info(
        "shard_folded",
        shard=shard,
        generation=decided.generation,
        from_checkpoint=decided.checkpoint.checkpoint.through if decided.checkpoint else None,
        through=fold.through,
        window_rows_to_append=windows.rows,
        events_to_append=events.rows,
    )
    return Opened(
        fold=fold,
        writer=RecordWriter(shard, writer, decided.generation, lease_generation, fold.now_unix_ns),
        head=found.last_seq,
        windows=EmittedAt(windows, found.windows_seq),
        events=EmittedAt(events, found.events_seq),
    )


async def _findings(js: JetStreamContext, shard: int, known: Position | None) -> Findings:
    stream = names.readings_stream(shard)
    # The log comes last: another writer may still be writing, and what was read
    # before must not point beyond the end of the log unless the log lost its end.
    checkpoint = await load_checkpoint(js, shard)
    through = checkpoint.checkpoint.through if checkpoint else 0
    coverage, windows_seq = await read_coverage(js, names.windows_stream(shard))
    events_coverage, events_seq = await read_coverage(js, names.events_stream(shard))
    state = (await js.stream_info(stream)).state
    return Findings(
        first_seq=state.first_seq,
        last_seq=state.last_seq,
        last=await _mark(js, stream, state.last_seq, state),
        at_checkpoint=await _mark(js, stream, through, state),
        checkpoint=checkpoint,
        coverage=coverage,
        windows_seq=windows_seq,
        events_coverage=events_coverage,
        events_seq=events_seq,
        settings_generation=await generation_of(js, shard),
        known=known,
    )


async def _mark(js: JetStreamContext, stream: str, seq: int, state: StreamState) -> RecordMark | None:
    if not state.first_seq <= seq <= state.last_seq or not seq:
        return None
    try:
        message = await js.get_msg(stream, seq=seq)
    except nats.js.errors.NotFoundError:
        return None
    record = _readings_record(stream, seq, message.data or b"")
    check_schema(record.schema)
    return RecordMark(record.generation, record.lease_generation, record.now_unix_ns)


async def _fold(
    js: JetStreamContext,
    shard: int,
    found: Findings,
    decided: Plan,
    *,
    windows: PendingWindows,
    events: PendingWindows,
) -> Fold:
    """Fold the log; what it emits goes to `windows` and `events`."""
    fold = Fold.restore(decided.checkpoint.checkpoint) if decided.checkpoint else Fold(shard)
    if decided.checkpoint and fold.through + 1 < found.first_seq:
        log.error("journal_overtaken", shard=shard, through=fold.through, first_seq=found.first_seq)
    async for seq, record in _replay(js, shard, max(fold.through + 1, found.first_seq), found.last_seq):
        output = fold.apply(seq, record)
        windows.add(record.generation, seq, output.journalled)
        events.add(record.generation, seq, output.events)
    return fold


async def _replay(
    js: JetStreamContext, shard: int, first_seq: int, last_seq: int
) -> AsyncIterator[tuple[int, journal_pb2.ReadingsRecord]]:
    """Yield the records first_seq..last_seq of the readings stream."""
    if first_seq > last_seq:
        return
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=first_seq,
        ack_policy=AckPolicy.NONE,
        mem_storage=True,
        inactive_threshold=30.0,
    )
    stream = names.readings_stream(shard)
    reader = await js.pull_subscribe(names.readings_subject(shard), stream=stream, config=config)
    try:
        seq = first_seq - 1
        while seq < last_seq:
            try:
                messages = await reader.fetch(min(_FETCH, last_seq - seq), timeout=_FETCH_TIMEOUT_S)
            except nats.errors.TimeoutError as error:
                raise ReplayStalledError(
                    f"{stream} gave nothing after {seq}, its last is {last_seq}"
                ) from error
            for message in messages:
                seq = message.metadata.sequence.stream
                if seq > last_seq:
                    return
                yield seq, _readings_record(stream, seq, message.data)
            await asyncio.sleep(0)  # folding is work: let the other shards have their turn
    finally:
        await reader.unsubscribe()


async def read_records(
    js: JetStreamContext, shard: int, first_seq: int, last_seq: int
) -> list[tuple[int, journal_pb2.ReadingsRecord]]:
    """Return a few records of the readings stream, one request each.

    Raises nats.js.errors.NotFoundError if one is not retained, JournalFormatError if one cannot be read.
    """
    records: list[tuple[int, journal_pb2.ReadingsRecord]] = []
    stream = names.readings_stream(shard)
    for seq in range(first_seq, last_seq + 1):
        message = await js.get_msg(stream, seq=seq)
        record = _readings_record(stream, seq, message.data or b"")
        check_schema(record.schema)
        records.append((seq, record))
    return records


def _readings_record(stream: str, seq: int, data: bytes) -> journal_pb2.ReadingsRecord:
    record = journal_pb2.ReadingsRecord()
    _parse(record, data, f"{stream}, record {seq}")
    return record


def _parse(record: Message, data: bytes, what: str) -> None:
    try:
        record.ParseFromString(data)
    except DecodeError as error:
        raise JournalFormatError(f"{what} is not a record: {error}") from error
