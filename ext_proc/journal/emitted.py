"""A stream of what the fold emits, windows or events: what it lacks is appended, exactly once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import nats.errors
import nats.js.errors
import pyarrow as pa
import structlog
from google.protobuf.message import DecodeError
from nats.js import JetStreamContext

from ext_proc.journal.append import Appender
from ext_proc.journal.errors import FencedError
from ext_proc.journal.pending import Coverage, PendingWindows
from ext_proc.journal.writer import RecordWriter
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import JournalFormatError

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EmittedAt:
    """Where such a stream stands when its shard is opened: what it lacks, and its last sequence."""

    pending: PendingWindows
    head: int


class EmittedStream:
    """The writer's hand on such a stream.

    Args:
        js: JetStream.
        stream: The stream, of one subject.
        subject: That subject.
        at: Where it stands.
        on_trouble: See Appender.
    """

    def __init__(
        self,
        js: JetStreamContext,
        stream: str,
        subject: str,
        at: EmittedAt,
        on_trouble: Callable[[str | None], None],
    ) -> None:
        self._js = js
        self._pending = at.pending
        self._appender = Appender(js, stream, subject, at.head, on_trouble)

    @property
    def head(self) -> int:
        """The stream's last sequence, as far as it is known."""
        return self._appender.head

    def add(self, generation: int, seq: int, rows: pa.RecordBatch) -> None:
        """Take what folding the readings record (generation, seq) emitted."""
        self._pending.add(generation, seq, rows)

    async def append(self, writer: RecordWriter) -> None:
        """Append the rows that wait; rows that another writer appended are dropped.

        Whoever folds the log emits the same rows, so a second writer here is no
        danger, unless the stream has lost rows: then FencedError is raised, and
        they are folded again.
        """
        while (chunk := self._pending.next_chunk()) is not None:
            record = writer.emitted(chunk)
            try:
                await self._appender.append(record.SerializeToString(), record.append_id)
            except FencedError as fenced:
                if fenced.head < self._appender.head:
                    raise
                await self._take_over(fenced)
            else:
                self._pending.appended(Coverage.of(record))

    async def _take_over(self, fenced: FencedError) -> None:
        stream = self._appender.stream
        try:
            coverage, self._appender.head = await read_coverage(self._js, stream)
        except (nats.errors.Error, TimeoutError) as error:
            raise fenced from error  # opening the shard again finds out
        log.warning("emitted_by_another_writer", stream=stream, through=coverage.through)
        self._pending.appended(coverage)


async def read_coverage(js: JetStreamContext, stream: str) -> tuple[Coverage, int]:
    """Return how far such a stream goes, and its last sequence. Raises JournalFormatError, or nats errors."""
    last_seq = (await js.stream_info(stream)).state.last_seq
    try:
        message = await js.get_msg(stream, seq=last_seq) if last_seq else None
    except nats.js.errors.NotFoundError:
        message = None  # aged out: rows from before are too old for anyone to miss
    if message is None:
        return Coverage(), last_seq
    try:
        record = journal_pb2.WindowsRecord.FromString(message.data or b"")
    except DecodeError as error:
        raise JournalFormatError(f"{stream}, record {last_seq} is not a record: {error}") from error
    return Coverage.of(record), last_seq
