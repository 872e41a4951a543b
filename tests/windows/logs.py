"""Readings logs for tests: records from plain tuples."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from wire.gen.gaugeway.config.v1 import config_pb2
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import READINGS_SCHEMA, SCHEMA_VERSION, encode_rows

S = 1_000_000_000
Row = tuple[str, int, int, int, float]
"""(sensor, epoch, seq, event time in ns, value)."""


def policy(
    sizes: Sequence[tuple[int, bool]] = ((1000, False), (10_000, True), (60_000, True)),
    horizon_ms: int = 60_000,
    idle_close_ms: int = 5_000,
) -> config_pb2.WindowPolicy:
    """Return a window policy of (size in ms, journalled)."""
    return config_pb2.WindowPolicy(
        sizes=[config_pb2.WindowSize(size_ms=size, journalled=kept) for size, kept in sizes],
        horizon_ms=horizon_ms,
        idle_close_ms=idle_close_ms,
    )


def opened(now: int = 0, rules: config_pb2.WindowPolicy | None = None) -> journal_pb2.ReadingsRecord:
    """Return an OPEN record."""
    record = tick(now)
    record.kind = journal_pb2.ReadingsRecord.OPEN
    record.policy.CopyFrom(rules or policy())
    return record


def changed(now: int, rules: config_pb2.WindowPolicy) -> journal_pb2.ReadingsRecord:
    """Return a POLICY record."""
    record = opened(now, rules)
    record.kind = journal_pb2.ReadingsRecord.POLICY
    return record


def tick(now: int) -> journal_pb2.ReadingsRecord:
    """Return a TICK record of shard 0, generation 1."""
    return journal_pb2.ReadingsRecord(
        schema=SCHEMA_VERSION, kind=journal_pb2.ReadingsRecord.TICK, generation=1, now_unix_ns=now
    )


def readings(
    now: int,
    rows: Sequence[Row],
    *,
    quality: int = 0,
    verdict: int = 0,
    metric: str = "temperature",
    site: str = "hall",
) -> journal_pb2.ReadingsRecord:
    """Return a READINGS record."""
    names = ("sensor", "epoch", "seq", "time", "value")
    fixed = {"site": site, "metric": metric, "unit": "Cel", "quality": quality, "verdict": verdict}
    batch = pa.RecordBatch.from_pylist(
        [dict(zip(names, row, strict=True)) | fixed for row in rows], schema=READINGS_SCHEMA
    )
    record = tick(now)
    record.kind = journal_pb2.ReadingsRecord.READINGS
    record.count, record.rows = batch.num_rows, encode_rows(batch)
    return record


def note(record: journal_pb2.ReadingsRecord, sensor: str, epoch: int = 1) -> journal_pb2.StreamNote:
    """Add a note to a record and return it."""
    return record.notes.add(sensor_id=sensor, epoch=epoch)
