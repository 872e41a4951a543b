"""Random logs: the fold against the oracle, against itself, and across checkpoints."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.windows.fold import Fold, FoldOutput
from tests.windows.oracle import Oracle, key_of, mismatches, plain
from tests.windows.strategies import logs
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import encode_rows

Log = list[journal_pb2.ReadingsRecord]


@settings(max_examples=150, deadline=None)
@given(log=logs())
def test_every_record_emits_what_the_oracle_says(log: Log) -> None:
    """The same windows, revisions, statistics, fates, gaps and cursors after every record."""
    fold, oracle = Fold(0), Oracle()
    for seq, record in enumerate(log, start=1):
        output = fold.apply(seq, record)
        expected = {emitted.key: emitted for emitted in oracle.apply(record)}
        live = plain(output.live)
        assert sorted(map(key_of, live)) == sorted(expected)
        assert [problem for row in live for problem in mismatches(row, expected[key_of(row)])] == []
        journalled = [key_of(row) for row in live if expected[key_of(row)].journalled]
        assert [key_of(row) for row in plain(output.journalled)] == journalled
        assert {
            row.sensor_id: {name: count for name, count in row if name != "sensor_id" and count}
            for row in fold.audit().sensors
        } == oracle.audit()
        assert fold.cursors() == oracle.cursors()


@settings(max_examples=100, deadline=None)
@given(log=logs())
def test_the_fates_of_a_sensor_add_up(log: Log) -> None:
    """For every sensor, always: received = aggregated + duplicate + quarantined + too_late + excluded."""
    fold = Fold(0)
    for seq, record in enumerate(log, start=1):
        fold.apply(seq, record)
        for row in fold.audit().sensors:
            fates = row.aggregated + row.duplicate + row.quarantined + row.too_late + row.excluded
            assert row.received == fates


@settings(max_examples=100, deadline=None)
@given(log=logs())
def test_revisions_count_up_from_one(log: Log) -> None:
    """(window, revision) is unique and without gaps (W2 of wire/journal.py), whatever policies do."""
    fold = Fold(0)
    revisions: dict[object, int] = {}
    for seq, record in enumerate(log, start=1):
        for row in plain(fold.apply(seq, record).live):
            assert row["revision"] == revisions.get(key_of(row), 0) + 1
            revisions[key_of(row)] = row["revision"]


@settings(max_examples=100, deadline=None)
@given(log=logs(), data=st.data())
def test_any_checkpoint_continues_byte_for_byte(log: Log, data: st.DataObject) -> None:
    """Restored from a checkpoint anywhere, a fold is the same: rows, counters, cursors, checkpoints."""
    fold = Fold(0)
    cut = data.draw(st.integers(0, len(log)))
    outputs = []
    restored = Fold(0)
    for seq, record in enumerate(log, start=1):
        outputs.append(output_bytes(fold.apply(seq, record)))
        if seq == cut:
            stored = fold.checkpoint().SerializeToString()
            restored = Fold.restore(journal_pb2.Checkpoint.FromString(stored))
            assert restored.checkpoint() == fold.checkpoint()
    again = [output_bytes(restored.apply(seq, record)) for seq, record in enumerate(log[cut:], start=cut + 1)]
    assert again == outputs[cut:]
    assert restored.audit() == fold.audit()
    assert [*map(list, restored.cursors().values())] == [*map(list, fold.cursors().values())]
    assert restored.checkpoint() == fold.checkpoint()


def output_bytes(output: FoldOutput) -> bytes:
    """Return the exact bytes of an output."""
    return encode_rows(output.journalled) + encode_rows(output.live)
