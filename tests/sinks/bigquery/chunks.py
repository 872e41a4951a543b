"""Journal records for tests of the BigQuery sink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from ext_proc.sinks.model import Chunk, Kind
from wire.journal import READINGS_SCHEMA, WINDOWS_SCHEMA, Quality, Verdict

START_NS = 1_790_000_000_000_000_000
EPOCH = 0x0123456789ABCDEF
SIZES_MS = (10_000, 60_000)


def readings_chunk(
    seq: int, values: Sequence[float], *, shard: int = 0, generation: int = 1, first: int = 1
) -> Chunk:
    """Return a record with a reading for each of `values`, 100 ms and 7 ns apart, seq from `first`."""
    rows = [
        {
            "sensor": "press-1",
            "site": "hall-3",
            "epoch": EPOCH,
            "seq": first + index,
            "metric": "temperature",
            "unit": "Cel",
            "time": START_NS + (first + index) * 100_000_007,
            "value": value,
            "quality": Quality.GOOD,
            "verdict": Verdict.OK,
        }
        for index, value in enumerate(values)
    ]
    return _chunk("readings", seq, rows, schema=READINGS_SCHEMA, shard=shard, generation=generation)


def windows_chunk(
    seq: int, *, windows: int = 4, revision: int = 1, shard: int = 0, generation: int = 1, count: int = 3
) -> Chunk:
    """Return a record with `windows` windows of each of SIZES_MS; those of one reading have no stddev."""
    rows = [
        {
            "sensor": f"press-{shard}",
            "site": "hall-3",
            "metric": "temperature",
            "unit": "Cel",
            "size_ms": size_ms,
            "start": START_NS // 60_000_000_000 * 60_000_000_000 + index * size_ms * 1_000_000,
            "revision": revision,
            "count": count if index % 2 else 1,
            "min": 1.0,
            "max": 3.0 + revision,
            "sum": 6.0,
            "mean": 2.0,
            "stddev": 1.0 if index % 2 else None,
            "first": 1.0,
            "first_time": START_NS + 1,
            "last": 3.0,
            "last_time": START_NS + 2_001,
            "p50": 2.0,
            "p95": 2.9,
            "p99": 2.98,
        }
        for index in range(windows)
        for size_ms in SIZES_MS
    ]
    return _chunk("windows", seq, rows, schema=WINDOWS_SCHEMA, shard=shard, generation=generation)


def _chunk(
    kind: Kind,
    seq: int,
    rows: Sequence[Mapping[str, object]],
    *,
    schema: pa.Schema,
    shard: int,
    generation: int,
) -> Chunk:
    arrays = [
        pa.array([row[field.name] for row in rows], field.type.value_type).dictionary_encode()
        if pa.types.is_dictionary(field.type)
        else pa.array([row[field.name] for row in rows], field.type)
        for field in schema
    ]
    return Chunk(
        kind=kind,
        shard=shard,
        generation=generation,
        seq=seq,
        now_unix_ns=START_NS + seq,
        rows=pa.RecordBatch.from_arrays(arrays, schema=schema),
        append_id=f"{seq:032x}",
    )
