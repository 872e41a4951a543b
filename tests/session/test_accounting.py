"""From bytes to counters: what a session took and what it refused is all in the audit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.journal.batch import Batcher
from ext_proc.session.model import (
    Delivery,
    Duplicates,
    Interruption,
    NotNumeric,
    Readings,
    Undecodable,
)
from ext_proc.windows.fold import Fold
from tests.session.bodies import BODIES, BOUNDS, CUTS, SESSIONS, session
from tests.session.frames import NOW
from tests.session.outcome import pieces
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import SCHEMA_VERSION, encode_rows
from wire.status import SensorAudit


def audit_of(items: list[Delivery], max_rows: int) -> SensorAudit:
    """Batch deliveries, fold the records, and return the sensor's counters."""
    fold, batcher = Fold(0), Batcher(max_rows, 1 << 20)
    policy = config_pb2.WindowPolicy(
        sizes=[config_pb2.WindowSize(size_ms=10_000, journalled=True)], horizon_ms=60_000, idle_close_ms=5000
    )
    opening = journal_pb2.ReadingsRecord.OPEN
    fold.apply(
        1, journal_pb2.ReadingsRecord(schema=SCHEMA_VERSION, kind=opening, generation=1, policy=policy)
    )
    for item in items:
        batcher.offer(item)
    seq = 1
    while (batch := batcher.take()) is not None:
        seq += 1
        record = journal_pb2.ReadingsRecord(
            schema=SCHEMA_VERSION,
            kind=journal_pb2.ReadingsRecord.READINGS,
            generation=1,
            now_unix_ns=NOW + seq,
            count=batch.rows.num_rows if batch.rows is not None else 0,
            rows=encode_rows(batch.rows) if batch.rows is not None else b"",
            notes=batch.notes,
        )
        fold.apply(seq, journal_pb2.ReadingsRecord.FromString(record.SerializeToString()))
    return next(iter(fold.audit().sensors))


def test_notes_keep_counts_and_the_first_place() -> None:
    """What says the same of one stream is one note; of the undecodable, the first one's place is kept."""
    batcher = Batcher(100, 1 << 20)
    items: list[Delivery] = [
        NotNumeric("a", 5, 2, "a string value"),
        Undecodable("a", 5, 1, 10, "a record is not JSON", 40, b"{x"),
        NotNumeric("a", 5, 3, "a string value"),
        NotNumeric("a", 5, 1, "a sum only"),
        Interruption("a", 5),
        Undecodable("a", 5, 2, 30, "a record is not JSON", 90, b"{y"),
    ]
    for item in items:
        batcher.offer(item)
    batch = batcher.take()
    assert batch is not None
    strings, undecodable, sums, interruption = batch.notes
    assert (strings.not_numeric.records, strings.not_numeric.reason) == (5, "a string value")
    assert sums.not_numeric.records == interruption.interruption.streams == 1
    told = undecodable.undecodable
    assert (told.frames, told.bytes, told.offset, told.head_hex) == (3, 40, 40, "7b78")


@pytest.mark.parametrize("content_type", SESSIONS)
@given(data=st.data(), cuts=CUTS, max_rows=st.integers(1, 20))
@settings(deadline=None, max_examples=50)
def test_everything_is_accounted_for(
    content_type: str, data: st.DataObject, cuts: list[int], max_rows: int
) -> None:
    """Received = aggregated + duplicate + quarantined + too_late + excluded, whatever came in."""
    one = session(content_type)
    items: list[Delivery] = []
    for part in pieces(data.draw(BODIES[content_type]), cuts):
        items += one.feed(part, BOUNDS)
    items += one.finish(complete=True)
    if not items:
        return
    audit = audit_of(items, max_rows)
    fates = audit.aggregated + audit.duplicate + audit.quarantined + audit.too_late + audit.excluded
    assert audit.received == fates
    readings = [item for item in items if isinstance(item, Readings)]
    duplicates = sum(item.count for item in items if isinstance(item, Duplicates))
    assert audit.received == sum(len(item) for item in readings) + duplicates
    assert audit.quarantined == sum(int((item.verdict != 0).sum()) for item in readings)
    assert audit.undecodable_frames == sum(item.frames for item in items if isinstance(item, Undecodable))
    reasons = {rejection.reason: rejection.count for rejection in one.rejections.take()}
    verdicts = ("not_finite", "future", "past", "unknown_metric", "wrong_unit")
    assert sum(reasons.get(verdict, 0) for verdict in verdicts) == audit.quarantined
    assert audit.gaps >= sum(isinstance(item, Interruption) for item in items)
