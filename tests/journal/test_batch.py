"""Assembling batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.journal.batch import ROW_BYTES, Batch, Batcher, rows_of
from ext_proc.session.model import Delivery, Duplicates, Hole, Readings, Undecodable
from tests.journal.support import run_of
from wire.journal import READINGS_SCHEMA, decode_rows, encode_rows

BYTES = 4 << 20


def drain(batcher: Batcher) -> list[Batch]:
    """Take everything."""
    batches = []
    while (batch := batcher.take()) is not None:
        batches.append(batch)
    return batches


def seqs(batches: Sequence[Batch]) -> list[tuple[str, int]]:
    """Return (sensor, seq) of every row."""
    return [
        pair
        for batch in batches
        if batch.rows is not None
        for pair in zip(
            batch.rows.column("sensor").to_pylist(), batch.rows.column("seq").to_pylist(), strict=True
        )
    ]


def test_rows_hold_every_column() -> None:
    """Runs of different sensors and series become one batch that the journal's schema takes."""
    first = run_of("press-1", 5, 2, epoch=2**64 - 1, start_unix_ns=1000)
    second = Readings(
        sensor_id="press-2",
        site="hall-4",
        epoch=3,
        first_seq=1,
        series=(("pressure", "kPa"), ("temperature", "Cel")),
        series_index=np.array([1, 0], np.uint32),
        time_unix_ns=np.array([-5, 2**62], np.int64),
        value=np.array([1.5, -2.5]),
        quality=np.array([0, 2], np.uint8),
        verdict=np.array([4, 0], np.uint8),
    )
    rows = decode_rows(encode_rows(rows_of([first, second])), READINGS_SCHEMA)
    columns = {name: rows.column(name).to_pylist() for name in READINGS_SCHEMA.names if name != "time"}
    assert columns == {
        "sensor": ["press-1", "press-1", "press-2", "press-2"],
        "site": ["hall-3", "hall-3", "hall-4", "hall-4"],
        "epoch": [2**64 - 1, 2**64 - 1, 3, 3],
        "seq": [5, 6, 1, 2],
        "metric": ["temperature", "temperature", "temperature", "pressure"],
        "unit": ["Cel", "Cel", "Cel", "kPa"],
        "value": [5.0, 6.0, 1.5, -2.5],
        "quality": [0, 0, 0, 2],
        "verdict": [0, 0, 4, 0],
    }
    times = rows.column("time").cast("int64").to_pylist()
    assert times == [1000 + 5 * 10**9, 1000 + 6 * 10**9, -5, 2**62]


@given(
    runs=st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(1, 50)), max_size=30),
    max_rows=st.integers(1, 60),
    max_bytes=st.integers(1, 60 * ROW_BYTES),
)
def test_limits_cut_batches_but_lose_and_reorder_nothing(
    runs: list[tuple[str, int]], max_rows: int, max_bytes: int
) -> None:
    """However small the limits, every row comes once, in order, and no batch has too many."""
    batcher = Batcher(max_rows, max_bytes)
    heads: dict[str, int] = {}
    expected = []
    for sensor, count in runs:
        first = heads.get(sensor, 0) + 1
        heads[sensor] = first + count - 1
        batcher.offer(run_of(sensor, first, count))
        expected += [(sensor, seq) for seq in range(first, first + count)]
    assert batcher.pending == len(expected)
    batches = drain(batcher)
    assert seqs(batches) == expected
    assert batcher.pending == 0
    assert all(batch.rows is not None and batch.rows.num_rows <= max_rows for batch in batches)
    assert [batch.ticket for batch in batches] == sorted(batch.ticket for batch in batches)
    if batches:
        assert batches[-1].ticket == batcher.offered
        reached = {key[0]: seq for batch in batches for key, seq in batch.cursors.items()}
        assert reached == heads


def test_a_ticket_counts_only_what_is_in_whole() -> None:
    """A run that is cut between two batches is not done with the first."""
    batcher = Batcher(10, BYTES)
    ticket = batcher.offer(run_of("a", 1, 15))
    first, second = drain(batcher)
    assert first.ticket < ticket == second.ticket


def test_notes_are_merged_by_what_they_say() -> None:
    """Duplicates add up by stream and undecodable frames by reason; holes stay apart."""
    items: list[Delivery] = [
        Duplicates("a", 7, 3),
        Hole("a", 7, 4, 5, "evicted"),
        Duplicates("b", 7, 1),
        Undecodable("a", 0, 1, 10, "not a protobuf frame"),
        Duplicates("a", 7, 2),
        Undecodable("a", 0, 1, 5, "not a protobuf frame"),
        Undecodable("a", 0, 1, 5, "epoch is 0"),
        Hole("a", 7, 9, 9, "skipped"),
    ]
    batcher = Batcher(100, BYTES)
    for item in items:
        batcher.offer(item)
    (batch,) = drain(batcher)
    assert batch.rows is None
    found = {(note.sensor_id, note.WhichOneof("what")): note for note in batch.notes}
    assert len(batch.notes) == 6
    assert [note.duplicates.count for note in batch.notes if note.HasField("duplicates")] == [5, 1]
    assert [note.undecodable.frames for note in batch.notes if note.HasField("undecodable")] == [2, 1]
    assert found["a", "undecodable"].undecodable.reason == "epoch is 0"
    assert batch.cursors == {("a", 7): 9}
