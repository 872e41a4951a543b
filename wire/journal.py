"""The journal: record schemas and their invariants.

A shard has three JetStream streams, `readings`, `windows` and `events` (wire.names), each
written only by compare-and-set on the stream's last sequence, one append in
flight. `sync_interval: always`: an acknowledged append is on disk.

Readings stream (journal.v1.ReadingsRecord)
  R1  `now_unix_ns` never goes back within a shard, across writers too.
  R2  The first record of a writer is OPEN, with a lease generation not below
      any earlier one's, and it carries the window policy in force. A POLICY
      record changes it from the next record on.
  R3  Rows keep their order within (sensor, epoch): seq rises by exactly one
      from row to row of that pair, over all records, except where a Hole note
      in the same record, or an earlier one, names the missing numbers.
  R4  A duplicate that the writer saw is trimmed and counted in a Duplicates
      note; a reader still checks against its own cursor.
  R5  `verdict` was decided before the append (wire.journal.Verdict); a fold
      never decides it again.
  R6  An idle shard appends a TICK at least once a second.
  R7  `generation` rises by one when the stream is found shorter than it was
      known to be. (generation, sequence) names a record for ever.
  R8  Streams of devices that number nothing (SenML) are an epoch each, numbered
      from 1 as readings arrive. An Interruption note comes before the rows of
      each of them but the sensor's first: what was measured between two streams
      is not known. Notes of input that could not be used (Undecodable), or is no
      reading (NotNumeric), are counted and change nothing else.

Windows stream (journal.v1.WindowsRecord)
  W1  `through` rises strictly; a record holds exactly the rows that folding
      the readings records (previous through, through] emits, in fold order.
      Rows of one readings record that are too many for one message go into
      several with the same `through`: `skip` counts the rows in those before,
      `more` is set in all but the last. `generation` is that of the readings
      record `through`; within it `through` never goes back.
  W2  (sensor, metric, unit, size, start, revision) is unique within a
      generation; revisions of a window count up from 1. A newer generation
      goes on from what is left of the log and counts anew what was lost, so of
      a window the highest (generation, revision) is the truth.

Events stream (journal.v1.WindowsRecord, rows of wire.events.EVENTS_SCHEMA)
  E1  As W1: it holds exactly the events that folding the readings records up to
      `through` emits, in fold order. A readings record without events has none here.
  E2  The id of an event follows from the rule, its revision, the series and the
      reading that it begins with: folding again, and folding readings that were
      served again after a loss, makes the same ids.

Rules come into force by OPEN and RULES records, whole sets each time, from the
next record on (R2). An OPEN without a set leaves the one in force.

Checkpoints (journal.v1.Checkpoint) are a pure function of the readings stream
up to `through`: whoever wrote one, it is valid.

`schema` is SCHEMA_VERSION. A reader refuses a higher one; adding columns at
the end of a schema, or fields to a record, does not raise it.
"""

from __future__ import annotations

import enum
from typing import Final

import pyarrow as pa
import pyarrow.ipc

SCHEMA_VERSION: Final = 1


class JournalFormatError(ValueError):
    """A record cannot be read: it was written by a newer version, or is damaged."""


class Verdict(enum.IntEnum):
    """What the session decided about a reading. Everything but OK is quarantined."""

    OK = 0
    NOT_FINITE = 1  # NaN or an infinity
    FUTURE = 2  # event time more than max_future_skew_ms ahead of the worker's clock
    PAST = 3  # event time more than max_past_ms behind it
    UNKNOWN_METRIC = 4  # not among the sensor's declared metrics
    WRONG_UNIT = 5  # declared with another unit


class Quality(enum.IntEnum):
    """Quality of a reading as its device states it. Everything but GOOD is excluded from windows."""

    GOOD = 0
    UNCERTAIN = 1
    BAD = 2


_WORD = pa.dictionary(pa.int32(), pa.utf8())
_TIME = pa.timestamp("ns", tz="UTC")

READINGS_SCHEMA: Final = pa.schema(
    [
        pa.field("sensor", _WORD, nullable=False),
        pa.field("site", _WORD, nullable=False),
        pa.field("epoch", pa.uint64(), nullable=False),
        pa.field("seq", pa.uint64(), nullable=False),
        pa.field("metric", _WORD, nullable=False),
        pa.field("unit", _WORD, nullable=False),
        pa.field("time", _TIME, nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("quality", pa.uint8(), nullable=False),
        pa.field("verdict", pa.uint8(), nullable=False),
    ]
)

WINDOWS_SCHEMA: Final = pa.schema(
    [
        pa.field("sensor", _WORD, nullable=False),
        pa.field("site", _WORD, nullable=False),
        pa.field("metric", _WORD, nullable=False),
        pa.field("unit", _WORD, nullable=False),
        pa.field("size_ms", pa.uint32(), nullable=False),
        pa.field("start", _TIME, nullable=False),
        pa.field("revision", pa.uint32(), nullable=False),
        pa.field("count", pa.uint64(), nullable=False),
        pa.field("min", pa.float64(), nullable=False),
        pa.field("max", pa.float64(), nullable=False),
        pa.field("sum", pa.float64(), nullable=False),
        pa.field("mean", pa.float64(), nullable=False),
        pa.field("stddev", pa.float64()),  # sample standard deviation; null below two readings
        pa.field("first", pa.float64(), nullable=False),
        pa.field("first_time", _TIME, nullable=False),
        pa.field("last", pa.float64(), nullable=False),
        pa.field("last_time", _TIME, nullable=False),
        pa.field("p50", pa.float64(), nullable=False),
        pa.field("p95", pa.float64(), nullable=False),
        pa.field("p99", pa.float64(), nullable=False),
    ]
)

# Without threads: handing a record's few buffers to a pool costs more than (de)compressing them,
# ten times as much for small records.
_WRITE_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4", unify_dictionaries=False, use_threads=False)
_READ_OPTIONS = pa.ipc.IpcReadOptions(use_threads=False)


def encode_rows(batch: pa.RecordBatch) -> bytes:
    """Return `batch` as an Arrow IPC stream of one record batch, lz4."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_WRITE_OPTIONS) as writer:
        writer.write_batch(batch)
    encoded: bytes = sink.getvalue().to_pybytes()
    return encoded


def decode_rows(data: bytes, schema: pa.Schema) -> pa.RecordBatch:
    """Read what encode_rows wrote; columns after those of `schema` are ignored.

    Raises JournalFormatError if `data` is damaged or lacks a column.
    """
    try:
        with pa.ipc.open_stream(data, options=_READ_OPTIONS) as reader:
            batch = reader.read_next_batch()
    except (pa.ArrowInvalid, StopIteration, OSError) as error:
        raise JournalFormatError(f"rows are not an Arrow IPC stream: {error}") from error
    found = batch.schema
    if found.equals(schema):
        return batch
    if len(found) < len(schema) or any(found.field(i) != schema.field(i) for i in range(len(schema))):
        raise JournalFormatError(f"rows have the columns {found.names}, not {schema.names}")
    return batch.select(schema.names) if len(found) > len(schema) else batch


def check_schema(version: int) -> None:
    """Raise JournalFormatError if a record's `schema` is not one that this version reads."""
    if version != SCHEMA_VERSION:
        raise JournalFormatError(
            f"journal schema {version}; this version reads {SCHEMA_VERSION}: upgrade every reader first"
        )
