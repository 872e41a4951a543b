"""The public tables: what the journal's rows are called and typed outside. Pure.

The same names, types and meanings in every place that rows are delivered to
(warehouse, BigQuery; Power BI as far as its types go).

`readings`: every reading that the journal holds, quarantined and excluded ones
too: `verdict` and `quality` say which. Key: READINGS_KEY.
    A sink need not remove duplicates of its own reading: within one generation
    a key is in the journal once (R3 and R4 of wire/journal.py). It comes twice
    (a) when a sink without an exact cursor delivers a batch again after a
    crash, and (b) when the journal lost its end: the agents then serve again
    what was lost, under the next generation. Both rows are the same reading.
    Whoever reads a table in which that can have happened takes one row of each
    key, that of the highest generation.

`windows`: every revision of every window. Key: `row_key`, which is W2's key
with the generation: after (b) windows are counted anew, and a row of the
newer generation is another row although its revision may be the same.
    `windows_latest` is the row of each WINDOW_KEY with the highest
    (generation, revision): see LATEST_ORDER.

Times are UTC, of nanoseconds. Integers are 64 bits with a sign. Text is UTF-8.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ext_proc.sinks.model import Chunk, Kind
from wire.ids import format_epoch
from wire.journal import Quality, Verdict

_TIME: Final = pa.timestamp("ns", tz="UTC")
_NS_PER_MS: Final = 1_000_000


def _fields(*columns: tuple[str, pa.DataType]) -> list[pa.Field]:
    return [pa.field(name, of_type, nullable=name == "stddev") for name, of_type in columns]


_WHERE: Final = (("shard", pa.int64()), ("generation", pa.int64()), ("journal_seq", pa.int64()))

READINGS_TABLE: Final = pa.schema(
    _fields(
        ("sensor_id", pa.string()),
        ("site", pa.string()),
        ("metric", pa.string()),
        ("unit", pa.string()),
        ("epoch", pa.string()),  # 16 hexadecimal digits
        ("seq", pa.int64()),
        ("time", _TIME),
        ("value", pa.float64()),  # may be NaN or infinite: verdict NOT_FINITE
        ("quality", pa.string()),  # wire.journal.Quality
        ("verdict", pa.string()),  # wire.journal.Verdict
        *_WHERE,
    )
)

WINDOWS_TABLE: Final = pa.schema(
    _fields(
        ("sensor_id", pa.string()),
        ("site", pa.string()),
        ("metric", pa.string()),
        ("unit", pa.string()),
        ("size_ms", pa.int64()),
        ("window_start", _TIME),
        ("window_end", _TIME),  # the first moment after the window
        ("revision", pa.int64()),  # from 1
        ("count", pa.int64()),
        ("min", pa.float64()),
        ("max", pa.float64()),
        ("sum", pa.float64()),
        ("mean", pa.float64()),
        ("stddev", pa.float64()),  # sample standard deviation; null below two readings
        ("first", pa.float64()),
        ("first_time", _TIME),
        ("last", pa.float64()),
        ("last_time", _TIME),
        ("p50", pa.float64()),
        ("p95", pa.float64()),
        ("p99", pa.float64()),
        *_WHERE,
        ("row_key", pa.string()),
    )
)

TABLES: Final[dict[Kind, pa.Schema]] = {"readings": READINGS_TABLE, "windows": WINDOWS_TABLE}

READINGS_KEY: Final = ("sensor_id", "epoch", "seq")
WINDOW_KEY: Final = ("sensor_id", "metric", "unit", "size_ms", "window_start")
LATEST_ORDER: Final = ("generation", "revision", "journal_seq")
"""Of the rows of one WINDOW_KEY (or READINGS_KEY, without `revision`) the highest by these is the one."""


def public_rows(chunks: Sequence[Chunk]) -> pa.Table:
    """Return the rows of chunks of one kind, in order, as rows of TABLES[kind].

    At least one chunk; those without rows add none.
    """
    kind = chunks[0].kind
    convert = _readings if kind == "readings" else _windows
    schema = TABLES[kind]
    batches = [convert(chunk) for chunk in chunks if chunk.rows.num_rows]
    return pa.Table.from_batches(batches, schema=schema).combine_chunks()


def _readings(chunk: Chunk) -> pa.RecordBatch:
    rows = chunk.rows
    columns = [
        *(_text(rows.column(name)) for name in ("sensor", "site", "metric", "unit")),
        _named(rows.column("epoch"), format_epoch),
        _int64(rows.column("seq")),
        rows.column("time"),
        rows.column("value"),
        _named(rows.column("quality"), _member_name(Quality)),
        _named(rows.column("verdict"), _member_name(Verdict)),
        *_where(chunk),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=READINGS_TABLE)


def _windows(chunk: Chunk) -> pa.RecordBatch:
    rows = chunk.rows
    sensor, site, metric, unit = (_text(rows.column(name)) for name in ("sensor", "site", "metric", "unit"))
    size_ms, revision = _int64(rows.column("size_ms")), _int64(rows.column("revision"))
    start = rows.column("start").view(pa.int64())
    end = pc.add(start, pc.multiply(size_ms, _NS_PER_MS))
    where = _where(chunk)
    key = pc.binary_join_element_wise(
        sensor,
        metric,
        unit,
        *(pc.cast(column, pa.string()) for column in (size_ms, start, where[1], revision)),
        "/",
    )
    columns = [
        sensor,
        site,
        metric,
        unit,
        size_ms,
        rows.column("start"),
        end.view(_TIME),
        revision,
        _int64(rows.column("count")),
        *(rows.column(name) for name in WINDOWS_TABLE.names[9:21]),
        *where,
        key,
    ]
    return pa.RecordBatch.from_arrays(columns, schema=WINDOWS_TABLE)


def _where(chunk: Chunk) -> list[pa.Array]:
    rows = chunk.rows.num_rows
    return [pa.array(np.full(rows, number)) for number in (chunk.shard, chunk.generation, chunk.seq)]


def _text(words: pa.Array) -> pa.Array:
    return words.dictionary_decode() if pa.types.is_dictionary(words.type) else words.cast(pa.string())


def _int64(numbers: pa.Array) -> pa.Array:
    return numbers.cast(pa.int64())


def _named(numbers: pa.Array, name: Callable[[int], str]) -> pa.Array:
    """Return name(number) for each; `name` is called once for each distinct number."""
    found = numbers.dictionary_encode()
    words = pa.array([name(number) for number in found.dictionary.to_pylist()], pa.string())
    return words.take(found.indices)


def _member_name(members: type[enum.IntEnum]) -> Callable[[int], str]:
    names = {int(member): member.name for member in members}
    return lambda number: names.get(number, f"UNKNOWN_{number}")  # written by a newer version


def json_rows(rows: pa.Table) -> list[dict[str, Any]]:
    """Return public rows as JSON has them: times in Unix nanoseconds.

    (Arrow's own to_pylist refuses times that are not whole microseconds.)
    """
    columns = [
        column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column for column in rows.columns
    ]
    plain: list[dict[str, Any]] = pa.Table.from_arrays(columns, names=rows.column_names).to_pylist()
    return plain
