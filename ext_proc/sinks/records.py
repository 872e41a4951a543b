"""Messages of the journal's streams as chunks. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa
from google.protobuf.message import DecodeError

from ext_proc.sinks.errors import TerminalSinkError
from ext_proc.sinks.model import Chunk, Kind, Position
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import (
    READINGS_SCHEMA,
    WINDOWS_SCHEMA,
    JournalFormatError,
    check_schema,
    decode_rows,
)
from wire.names import readings_stream, readings_subject, windows_stream, windows_subject

_SCHEMAS: Final = {"readings": READINGS_SCHEMA, "windows": WINDOWS_SCHEMA}
_NO_ROWS: Final = {
    kind: pa.RecordBatch.from_arrays([pa.array([], type=field.type) for field in schema], schema=schema)
    for kind, schema in _SCHEMAS.items()
}

Record = journal_pb2.ReadingsRecord | journal_pb2.WindowsRecord


@dataclass(frozen=True, slots=True)
class Damaged:
    """A record that cannot be read, and never will be: a chunk without rows stands for it."""

    chunk: Chunk
    reason: str


def stream_of(kind: Kind, shard: int) -> str:
    """Return the stream's name."""
    return readings_stream(shard) if kind == "readings" else windows_stream(shard)


def subject_of(kind: Kind, shard: int) -> str:
    """Return the stream's only subject."""
    return readings_subject(shard) if kind == "readings" else windows_subject(shard)


def decode(kind: Kind, shard: int, seq: int, data: bytes, before: Position | None) -> Chunk | Damaged:
    """Return the record of a message.

    Args:
        kind: Which stream.
        shard: Which shard.
        seq: The message's sequence.
        data: The message.
        before: The record before it: a damaged one is taken for one of the same generation.

    Raises:
        TerminalSinkError: It was written by a newer version.
    """
    generation = before.generation if before else 0
    try:
        record = _parse(kind, data)
    except DecodeError as error:
        return Damaged(Chunk(kind, shard, generation, seq, 0, _NO_ROWS[kind]), f"not a record: {error}")
    try:
        check_schema(record.schema)
    except JournalFormatError as error:
        raise TerminalSinkError(f"{stream_of(kind, shard)}, record {seq}: {error}") from error

    def chunk(rows: pa.RecordBatch) -> Chunk:
        mark = record.append_id.hex()
        return Chunk(kind, shard, record.generation, seq, record.now_unix_ns, rows, mark)

    if not record.count:
        return chunk(_NO_ROWS[kind])
    try:
        return chunk(decode_rows(record.rows, _SCHEMAS[kind]))
    except JournalFormatError as error:
        return Damaged(chunk(_NO_ROWS[kind]), str(error))


def position_of(kind: Kind, seq: int, data: bytes) -> Position | None:
    """Return which record a message is; None if it cannot be read."""
    try:
        record = _parse(kind, data)
    except DecodeError:
        return None
    return Position(record.generation, seq, record.append_id.hex())


def _parse(kind: Kind, data: bytes) -> Record:
    if kind == "readings":
        return journal_pb2.ReadingsRecord.FromString(data)
    return journal_pb2.WindowsRecord.FromString(data)
