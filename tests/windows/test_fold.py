"""The fold: fates, watermarks, revisions, determinism."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from ext_proc.windows.fold import Fold, LogOrderError
from tests.windows.logs import Row, S, changed, note, opened, policy, readings, tick
from tests.windows.oracle import plain
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import READINGS_SCHEMA, JournalFormatError, decode_rows, encode_rows
from wire.status import SensorAudit

TEN_S = ((10_000, True),)


def run(fold: Fold, *records: journal_pb2.ReadingsRecord) -> list[dict[str, Any]]:
    """Apply records after what the fold has; return all journalled rows."""
    rows: list[dict[str, Any]] = []
    for record in records:
        rows += plain(fold.apply(fold.through + 1, record).journalled)
    return rows


def audit_of(fold: Fold, sensor: str) -> SensorAudit:
    """Return one sensor's counters."""
    return next(row for row in fold.audit().sensors if row.sensor_id == sensor)


def brief(rows: list[dict[str, Any]]) -> list[tuple[int, int, int]]:
    """Return (start in s, revision, count) of rows."""
    return [(row["start"] // S, row["revision"], row["count"]) for row in rows]


def at(*times_s: float, sensor: str = "a", epoch: int = 1, seq: int = 1) -> list[Row]:
    """Return readings at event times in seconds, numbered from `seq`; the value is the time."""
    return [(sensor, epoch, seq + place, int(time * S), time) for place, time in enumerate(times_s)]


def ten_s_fold(**rules: int) -> Fold:
    """Return a fold with 10 s windows only."""
    fold = Fold(0)
    run(fold, opened(0, policy(TEN_S, **rules)))
    return fold


def test_a_window_is_emitted_when_the_watermark_reaches_its_end() -> None:
    """Every statistic of a window, and nothing before its time."""
    fold = ten_s_fold()
    assert run(fold, readings(9 * S, at(1, 2, 6))) == []
    [row] = run(fold, readings(10 * S, at(10, seq=4)))
    assert brief([row]) == [(0, 1, 3)]
    assert (row["sensor"], row["site"], row["metric"], row["unit"]) == ("a", "hall", "temperature", "Cel")
    assert (row["min"], row["max"], row["first"], row["last"], row["sum"]) == (1, 6, 1, 6, 9)
    assert row["mean"] == pytest.approx(3)
    assert row["stddev"] == pytest.approx(statistics.stdev([1, 2, 6]))
    assert row["p50"] == pytest.approx(2, rel=0.01)
    assert (row["first_time"], row["last_time"]) == (S, 6 * S)


def test_one_reading_has_no_standard_deviation() -> None:
    """The sample standard deviation needs two readings."""
    [row] = run(ten_s_fold(), readings(1, at(1, 10)))
    assert row["stddev"] is None
    assert row["p50"] == row["p99"] == 1.0


def test_a_late_reading_within_the_horizon_makes_a_revision() -> None:
    """One revision a record, not one a reading."""
    fold = ten_s_fold()
    run(fold, readings(1, at(1, 30)))
    assert brief(run(fold, readings(2, at(2, 3, seq=3)))) == [(0, 2, 3)]
    assert audit_of(fold, "a").too_late == 0


def test_a_reading_behind_the_horizon_is_too_late() -> None:
    """It is counted and changes no window."""
    fold = ten_s_fold(horizon_ms=20_000)
    run(fold, readings(1, at(1, 30)))
    assert run(fold, readings(2, at(9.9, seq=3))) == []
    assert (audit_of(fold, "a").too_late, audit_of(fold, "a").aggregated) == (1, 2)
    assert len(run(fold, readings(3, at(10, seq=4), metric="pressure"))) == 1, "at the horizon is in time"


def test_lateness_is_judged_before_the_record() -> None:
    """The order within a record does not matter."""
    fold = ten_s_fold(horizon_ms=10_000)
    rows = run(fold, readings(1, at(100, 1)))
    assert audit_of(fold, "a").too_late == 0
    assert brief(rows) == [(0, 1, 1)]


def test_an_idle_sensor_closes_by_log_time_and_keeps_its_watermark() -> None:
    """What comes after an outage is accepted, not too late."""
    fold = ten_s_fold(idle_close_ms=5_000, horizon_ms=10_000)
    run(fold, readings(8 * S, at(1, 8)))
    assert run(fold, tick(14 * S)) == []
    assert brief(run(fold, tick(15 * S))) == [(0, 1, 2)]
    assert run(fold, tick(16 * S)) == []
    rows = run(fold, readings(600 * S, at(9, 11, 21, seq=3)))
    assert brief(rows) == [(0, 2, 3), (10, 1, 1)]
    assert audit_of(fold, "a").too_late == 0


def test_one_sensor_does_not_make_another_late() -> None:
    """Watermarks are a sensor's own."""
    fold = ten_s_fold(horizon_ms=0)
    run(fold, readings(1, at(1000, sensor="fast")))
    run(fold, readings(2, at(1, sensor="slow")))
    assert audit_of(fold, "slow").too_late == 0


def test_every_fate_is_counted_once() -> None:
    """The sum of the fates is what was received."""
    fold = ten_s_fold(horizon_ms=1000)
    run(fold, readings(1, at(1, 50)), readings(2, at(1, 50, 51, seq=1)))
    run(fold, readings(3, at(52, 53, seq=4), verdict=1), readings(4, at(54, seq=6), quality=2))
    run(fold, readings(5, at(3, seq=7)))
    noted = tick(6)
    note(noted, "a").duplicates.count = 10
    run(fold, noted)
    row = audit_of(fold, "a")
    assert row.model_dump(exclude={"sensor_id"}) == {
        "received": 19,
        "aggregated": 3,
        "duplicate": 12,
        "quarantined": 2,
        "too_late": 1,
        "excluded": 1,
        "undecodable_frames": 0,
        "gaps": 0,
        "gap_readings": 0,
    }


def test_holes_are_counted_whether_told_or_found() -> None:
    """A told hole moves the cursor; a jump without one is a gap too."""
    fold = ten_s_fold()
    record = readings(1, [*at(1, 2), *at(3, seq=6)])
    hole = note(record, "a").hole
    hole.first_seq, hole.last_seq = 3, 5
    undecodable = note(record, "a").undecodable
    undecodable.frames = 2
    run(fold, record)
    row = audit_of(fold, "a")
    assert (row.gaps, row.gap_readings, row.undecodable_frames) == (1, 3, 2)
    run(fold, readings(2, at(4, seq=10)))
    row = audit_of(fold, "a")
    assert (row.gaps, row.gap_readings, row.received) == (2, 6, 4)
    assert fold.cursors() == {"a": {1: 10}}


def test_a_new_epoch_begins_at_its_own_first_number() -> None:
    """Numbers of one epoch say nothing of another's."""
    fold = ten_s_fold()
    run(fold, readings(1, at(1, 2, 3)), readings(2, at(4, 5, epoch=2)))
    assert audit_of(fold, "a").duplicate == 0
    assert fold.cursors() == {"a": {1: 3, 2: 2}}


def test_a_changed_policy_counts_from_its_record_on() -> None:
    """Windows of a size that is gone are emitted once; a new size begins."""
    fold = ten_s_fold()
    run(fold, readings(1, at(1)))
    [row] = run(fold, changed(2, policy(((20_000, True),))))
    assert (row["size_ms"], row["count"]) == (10_000, 1)
    rows = run(fold, readings(3, at(2, 20, seq=2)))
    assert [(row["size_ms"], row["count"]) for row in rows] == [(20_000, 1)]


def test_a_size_that_comes_back_goes_on_with_its_revisions() -> None:
    """(window, revision) stays unique, whatever policies did in between."""
    fold = ten_s_fold()
    run(fold, readings(1, at(1)))
    assert brief(run(fold, changed(2, policy(((20_000, True),))))) == [(0, 1, 1)]
    run(fold, readings(3, at(2, seq=2)))
    assert run(fold, changed(4, policy(((10_000, True), (20_000, True))))) == []
    assert brief(run(fold, readings(5, at(3, seq=3)))) == [(0, 2, 2)]


def test_a_wider_horizon_does_not_reopen_what_was_closed() -> None:
    """What was too late stays too late; else a window would begin again at revision 1."""
    fold = ten_s_fold(horizon_ms=0)
    run(fold, readings(1, at(1, 100)))
    run(fold, changed(2, policy(TEN_S, horizon_ms=1_000_000)))
    assert run(fold, readings(3, at(2, seq=3))) == []
    assert audit_of(fold, "a").too_late == 1
    run(fold, readings(4, at(101, seq=4)))
    assert run(fold, readings(5, at(99, seq=5))) == []
    assert audit_of(fold, "a").too_late == 2


def test_readings_before_any_policy_are_counted() -> None:
    """A log whose beginning aged out has no windows until the next OPEN, and counts on."""
    fold = Fold(0)
    assert run(fold, readings(1, at(100, 1))) == []
    run(fold, opened(2, policy(TEN_S)))
    assert brief(run(fold, readings(3, at(40, 100, seq=3)))) == [(40, 1, 1)]
    assert audit_of(fold, "a").aggregated == 4


def test_sizes_that_are_not_journalled_are_live_only() -> None:
    """1 s windows go live, 10 s windows both ways."""
    fold = Fold(0)
    fold.apply(1, opened())
    output = fold.apply(2, readings(1, at(0.5, 10)))
    assert [row["size_ms"] for row in plain(output.live)] == [1000, 10_000]
    assert [row["size_ms"] for row in plain(output.journalled)] == [10_000]


def test_an_hour_of_backlog_in_one_record() -> None:
    """3,600 windows come out of one record, each right."""
    fold = Fold(0)
    fold.apply(1, opened(0, policy(((1000, True),), horizon_ms=1000)))
    rows = plain(fold.apply(2, readings(1, at(*range(3601)))).journalled)
    assert brief(rows) == [(start, 1, 1) for start in range(3600)]


def test_idleness_is_looked_for_in_slots_of_log_time() -> None:
    """Log time that stays in one slot of 250 ms closes nothing; the next slot does."""
    fold = ten_s_fold(idle_close_ms=1_000)
    run(fold, readings(9 * S, at(1)))
    assert run(fold, tick(11 * S - 1)) == []
    assert brief(run(fold, tick(11 * S))) == [(0, 1, 1)]
    fold = ten_s_fold(idle_close_ms=1_100)
    run(fold, readings(9 * S, at(1)))
    assert run(fold, tick(11 * S), tick(11 * S + S // 10)) == []
    assert brief(run(fold, tick(11 * S + S // 4))) == [(0, 1, 1)]


def test_readings_keep_an_idle_window_open() -> None:
    """A window behind log time stays open as long as its sensor sends."""
    fold = ten_s_fold(idle_close_ms=5_000)
    for second in range(100, 140, 4):
        assert run(fold, readings(second * S, at(1, seq=second // 4))) == []
    assert brief(run(fold, tick(141 * S))) == [(0, 1, 10)]


def test_an_epoch_that_is_used_again_is_the_newest() -> None:
    """Cursors are in the order in which epochs moved last; the oldest are forgotten."""
    fold = ten_s_fold()
    for epoch in range(1, 11):
        run(fold, readings(epoch, at(epoch, epoch=epoch)))
    assert list(fold.cursors()["a"]) == list(range(3, 11))
    run(fold, readings(11, at(11, epoch=5, seq=2)))
    assert list(fold.cursors()["a"]) == [3, 4, 6, 7, 8, 9, 10, 5]
    run(fold, readings(12, at(11, epoch=6, seq=1)))
    assert list(fold.cursors()["a"])[-1] == 5, "a duplicate moves nothing"
    restored = Fold.restore(fold.checkpoint())
    assert list(restored.cursors()["a"]) == list(fold.cursors()["a"])


def test_more_epochs_in_one_record_than_are_kept() -> None:
    """All of them are read; the last ones stay."""
    fold = ten_s_fold()
    run(fold, readings(1, [row for epoch in range(1, 21) for row in at(1, 2, epoch=epoch)]))
    assert audit_of(fold, "a").aggregated == 40
    assert fold.cursors()["a"] == dict.fromkeys(range(13, 21), 2)


def test_what_quarantined_readings_say_is_not_remembered() -> None:
    """A sensor that invents metrics does not make the state grow."""
    fold = ten_s_fold()
    before = 0
    for seq in range(1, 50):
        run(fold, readings(seq, at(1, seq=seq), verdict=4, metric=f"m{seq}"))
        size = len(fold.checkpoint().tables["series"])
        assert before in {0, size}
        before = size


def test_a_sensor_that_moves_takes_its_windows_along() -> None:
    """Rows name the site of the sensor's newest reading."""
    fold = ten_s_fold()
    run(fold, readings(1, at(1)))
    [row] = run(fold, readings(2, at(10, seq=2), site="yard"))
    assert row["site"] == "yard"


def test_magnitudes_at_the_ends_of_float64() -> None:
    """Sums saturate, deviations neither overflow nor vanish; nothing is infinite or NaN."""
    fold = Fold(0)
    run(fold, opened(0, policy(TEN_S)))
    huge = [1.7e308, -1.7e308, 1.7e308, 1.7e308]
    tiny = [5e-324, 1e-320, -5e-324, 0.0]
    rows: list[Row] = [("huge", 1, seq, seq * S, value) for seq, value in enumerate(huge, start=1)]
    rows += [("tiny", 1, seq, seq * S, value) for seq, value in enumerate(tiny, start=1)]
    run(fold, readings(1, rows))
    more: list[Row] = [("huge", 1, 5, 5 * S, 1.7e308), ("tiny", 1, 5, 5 * S, 5e-324)]
    run(fold, readings(2, more))
    big, small = run(fold, readings(3, at(10, seq=6, sensor="huge") + at(10, seq=6, sensor="tiny")))
    assert (big["count"], big["max"], big["min"]) == (5, 1.7e308, -1.7e308)
    assert big["sum"] == sys.float_info.max
    assert big["mean"] == pytest.approx(1.02e308)
    assert big["stddev"] == pytest.approx(1.7e308 * (2 * 0.8 * 0.2 * 5 / 4 * 2) ** 0.5)
    assert big["p50"] == pytest.approx(1.7e308, rel=0.01)
    assert small["sum"] == sum([*tiny, 5e-324])
    magnified = [value * 1e300 for value in [*tiny, 5e-324]]
    assert small["stddev"] == pytest.approx(statistics.stdev(magnified) / 1e300, abs=1e-323)
    assert (small["min"], small["max"]) == (-5e-324, 1e-320)


def test_the_largest_deviation_there_is() -> None:
    """Merging windows whose deviation is at the end of float64's range does not round out of it."""
    fold = ten_s_fold()
    largest = sys.float_info.max
    for seq in range(1, 40, 2):
        run(fold, readings(seq, [("a", 1, seq, S, largest), ("a", 1, seq + 1, S, -largest)]))
    [row] = run(fold, readings(40, at(10, seq=41)))
    assert (row["count"], row["stddev"]) == (40, largest)


def test_a_checkpoint_keeps_the_order_of_words() -> None:
    """Rows name metrics in the same order after a restore, whichever order series first named them in."""
    fold = ten_s_fold()
    record = readings(1, [("a", 1, 1, S, 1.0), ("b", 1, 1, S, 1.0)])
    rows = decode_rows(record.rows, READINGS_SCHEMA)
    metric = pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int32()), pa.array(["first", "second"]))
    rows = rows.set_column(rows.schema.get_field_index("metric"), READINGS_SCHEMA.field("metric"), metric)
    record.rows = encode_rows(rows)
    run(fold, record)
    restored = Fold.restore(fold.checkpoint())
    end = readings(2, at(10, seq=2, sensor="a") + at(10, seq=2, sensor="b"))
    outputs = [which.apply(fold.through + 1, end).journalled for which in (restored, fold)]
    assert encode_rows(outputs[0]) == encode_rows(outputs[1])


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda record: setattr(record, "count", 5), "count"),
        (lambda record: setattr(record, "rows", b"rubbish"), "rows"),
        (lambda record: record.ClearField("rows"), "count"),
        (lambda record: record.policy.sizes.add(size_ms=0), "size_ms"),
        (lambda record: note(record, "a").hole.SetInParent(), "hole"),
    ],
)
def test_a_damaged_record_changes_nothing(
    make: Callable[[journal_pb2.ReadingsRecord], object], problem: str
) -> None:
    """The error names what is wrong, and the state is as before."""
    fold = ten_s_fold()
    run(fold, readings(5, at(1)))
    before = fold.checkpoint()
    record = readings(6, at(2, sensor="new"))
    make(record)
    with pytest.raises(JournalFormatError, match=problem):
        fold.apply(fold.through + 1, record)
    assert fold.checkpoint() == before


def test_a_damaged_checkpoint_is_refused() -> None:
    """A table that is missing or unreadable is named."""
    fold = ten_s_fold()
    run(fold, readings(5, at(1)))
    checkpoint = fold.checkpoint()
    for name in checkpoint.tables:
        damaged = journal_pb2.Checkpoint.FromString(checkpoint.SerializeToString())
        del damaged.tables[name]
        with pytest.raises(JournalFormatError, match=name):
            Fold.restore(damaged)
        damaged.tables[name] = b"rubbish"
        with pytest.raises(JournalFormatError):
            Fold.restore(damaged)


@pytest.mark.parametrize(
    ("field", "value"), [("shard", 1), ("generation", 0), ("now_unix_ns", 4), ("schema", 2)]
)
def test_a_record_out_of_order_is_refused(field: str, value: int) -> None:
    """Another shard, an older generation, time going back, a newer schema: refused, state unchanged."""
    fold = ten_s_fold()
    run(fold, readings(5, at(1)))
    before = fold.checkpoint()
    record = readings(6, at(2, seq=2))
    setattr(record, field, value)
    with pytest.raises(ValueError, match=r"shard|generation|now|schema") as refused:
        fold.apply(fold.through + 1, record)
    assert isinstance(refused.value, LogOrderError | JournalFormatError)
    with pytest.raises(LogOrderError, match="sequence"):
        fold.apply(fold.through, readings(6, at(2, seq=2)))
    assert fold.checkpoint() == before
