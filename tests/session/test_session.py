"""A session: bytes of a body in, readings with verdicts and notes out."""

from __future__ import annotations

import itertools
import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.session.cursor import KEPT_EPOCHS, SensorCursor
from ext_proc.session.model import (
    Delivery,
    Duplicates,
    Hole,
    Readings,
    SensorProfile,
    TimeBounds,
    Undecodable,
)
from ext_proc.session.session import Session
from tests.session.frames import NOW, batch, body, gap, heartbeat, value_of
from wire.frames import delimit
from wire.gen.gaugeway.readings.v1 import frame_view_pb2, readings_pb2
from wire.journal import Verdict

DAY_NS = 86_400_000_000_000
BOUNDS = TimeBounds(NOW - 400 * DAY_NS, NOW + 10_000_000_000, NOW)
PROFILE = SensorProfile("press-1", "hall-3", {"temperature": "Cel", "pressure": "kPa"})
EPOCH = 2**64 - 3


def session(cursor: SensorCursor | None = None) -> Session:
    """Return a session of press-1."""
    return Session(PROFILE, cursor or SensorCursor())


def rows(items: list[Delivery]) -> list[tuple[int, int, float, int]]:
    """Return (epoch, seq, value, verdict) of every reading delivered."""
    return [
        (item.epoch, item.first_seq + place, float(item.value[place]), int(item.verdict[place]))
        for item in items
        if isinstance(item, Readings)
        for place in range(len(item))
    ]


def notes(items: list[Delivery]) -> list[Delivery]:
    """Return what is delivered beside readings."""
    return [item for item in items if not isinstance(item, Readings)]


def test_a_frame_becomes_columns() -> None:
    """Every column arrives as sent, with sensor and site of the profile."""
    (readings,) = session().feed(body(batch(EPOCH, 1, 3, quality=b"\0\1\2")), BOUNDS)
    assert isinstance(readings, Readings)
    assert (readings.sensor_id, readings.site, readings.epoch) == ("press-1", "hall-3", EPOCH)
    assert (readings.first_seq, readings.last_seq, len(readings)) == (1, 3, 3)
    assert [readings.series[i][0] for i in readings.series_index] == ["pressure", "temperature", "pressure"]
    np.testing.assert_array_equal(readings.time_unix_ns, [NOW + 1, NOW + 2, NOW + 3])
    np.testing.assert_array_equal(readings.quality, [0, 1, 2])
    np.testing.assert_array_equal(readings.verdict, [0, 0, 0])


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    cuts=st.lists(st.integers(0, 20_000), max_size=30),
)
def test_where_a_body_is_cut_changes_nothing(sizes: list[int], cuts: list[int]) -> None:
    """Frames split and joined anywhere give the same rows in the same order."""
    frames, first = [heartbeat(EPOCH, 0)], 1
    for size in sizes:
        frames.append(batch(EPOCH, first, size))
        first += size
    data = body(*frames)
    one = session()
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    items = [item for start, end in itertools.pairwise(places) for item in one.feed(data[start:end], BOUNDS)]
    assert rows(items) == [(EPOCH, seq, value_of(seq), 0) for seq in range(1, first)]
    assert not notes(items)
    assert one.frames == len(frames)


@given(total=st.integers(1, 200), seed=st.integers(0, 2**32))
def test_served_again_in_other_cuts_nothing_is_lost_or_doubled(total: int, seed: int) -> None:
    """Streams that break off anywhere and are served again from anywhere before give every row once."""
    random = Random(seed)
    cursor = SensorCursor()
    seen: list[tuple[int, int, float, int]] = []
    duplicates = sent = 0
    while cursor.seq(EPOCH) < total:
        stream = session(cursor)
        first = random.randint(1, cursor.seq(EPOCH) + 1)
        stop_at = random.randint(cursor.seq(EPOCH) + 1, total)
        while first <= stop_at:
            count = random.randint(1, stop_at - first + 1)
            items = stream.feed(body(batch(EPOCH, first, count)), BOUNDS)
            seen += rows(items)
            duplicates += sum(item.count for item in items if isinstance(item, Duplicates))
            sent += count
            first += count
    assert seen == [(EPOCH, seq, value_of(seq), 0) for seq in range(1, total + 1)]
    assert duplicates == sent - total


@pytest.mark.parametrize(
    ("metric", "unit", "time", "value", "verdict"),
    [
        ("temperature", "Cel", NOW, 1.0, Verdict.OK),
        ("temperature", "Cel", NOW, math.nan, Verdict.NOT_FINITE),
        ("temperature", "Cel", NOW, -math.inf, Verdict.NOT_FINITE),
        ("temperature", "Cel", BOUNDS.latest_unix_ns, 1.0, Verdict.OK),
        ("temperature", "Cel", BOUNDS.latest_unix_ns + 1, 1.0, Verdict.FUTURE),
        ("temperature", "Cel", 2**63 - 1, 1.0, Verdict.FUTURE),
        ("temperature", "Cel", BOUNDS.earliest_unix_ns, 1.0, Verdict.OK),
        ("temperature", "Cel", BOUNDS.earliest_unix_ns - 1, 1.0, Verdict.PAST),
        ("temperature", "Cel", -(2**63), 1.0, Verdict.PAST),
        ("humidity", "%", NOW, 1.0, Verdict.UNKNOWN_METRIC),
        ("temperature", "K", NOW, 1.0, Verdict.WRONG_UNIT),
        ("humidity", "%", 0, math.nan, Verdict.NOT_FINITE),
    ],
)
def test_verdicts(metric: str, unit: str, time: int, value: float, verdict: Verdict) -> None:
    """Each rule gives its verdict; of several the lowest."""
    frame = batch(EPOCH, 1, 1, series=[(metric, unit)], times=[time], values=[value])
    ((_, _, _, found),) = rows(session().feed(body(frame), BOUNDS))
    assert found == verdict


def test_verdicts_follow_the_profile() -> None:
    """A metric that is declared while the stream is open counts from then on."""
    one = session()
    frame = batch(EPOCH, 1, 1, series=[("humidity", "%")])
    assert rows(one.feed(body(frame), BOUNDS))[0][3] == Verdict.UNKNOWN_METRIC
    one.change_profile(SensorProfile("press-1", "hall-3", {"humidity": "%"}))
    again = batch(EPOCH, 2, 1, series=[("humidity", "%")])
    assert rows(one.feed(body(again), BOUNDS))[0][3] == Verdict.OK


def test_holes() -> None:
    """An announced gap keeps its reason; numbers that were merely skipped are a hole too."""
    one = session()
    items = one.feed(body(gap(EPOCH, 1, 10), batch(EPOCH, 11, 2), batch(EPOCH, 20, 1)), BOUNDS)
    assert notes(items) == [
        Hole("press-1", EPOCH, 1, 10, "evicted"),
        Hole("press-1", EPOCH, 13, 19, "skipped"),
    ]
    assert [seq for _, seq, _, _ in rows(items)] == [11, 12, 20]


def test_a_gap_over_numbers_taken_before_is_only_its_rest() -> None:
    """What was accepted is no hole, even if the agent has lost it since."""
    one = session()
    items = one.feed(body(batch(EPOCH, 1, 5), gap(EPOCH, 3, 8), gap(EPOCH, 2, 4), gap(EPOCH, 11, 12)), BOUNDS)
    assert notes(items) == [
        Hole("press-1", EPOCH, 6, 8, "evicted"),
        Hole("press-1", EPOCH, 9, 10, "skipped"),
        Hole("press-1", EPOCH, 11, 12, "evicted"),
    ]


def test_a_new_epoch_begins_at_one() -> None:
    """Each epoch has numbers of its own, and the first frame of one may reveal a hole."""
    cursor = SensorCursor()
    one = session(cursor)
    items = one.feed(body(batch(7, 1, 3), batch(9, 1, 2), batch(11, 4, 1)), BOUNDS)
    assert [(epoch, seq) for epoch, seq, _, _ in rows(items)] == [
        (7, 1),
        (7, 2),
        (7, 3),
        (9, 1),
        (9, 2),
        (11, 4),
    ]
    assert notes(items) == [Hole("press-1", 11, 1, 3, "skipped")]
    assert cursor.newest == (11, 4)


def test_only_the_last_epochs_are_kept() -> None:
    """A sensor that makes up epochs cannot fill the memory."""
    cursor = SensorCursor()
    for epoch in range(1, 100):
        cursor.accept(epoch, 1, epoch)
    assert [cursor.seq(epoch) for epoch in range(1, 100)] == [0] * (99 - KEPT_EPOCHS) + list(
        range(100 - KEPT_EPOCHS, 100)
    )


def _series(metric: str, unit: str) -> bytes:
    return readings_pb2.Series(metric=metric, unit=unit).SerializeToString()


def _view(**fields: object) -> bytes:
    """Return a frame of one good reading with some fields replaced, encoded through the view."""
    good: dict[str, object] = {
        "epoch": EPOCH,
        "first_seq": 1,
        "count": 1,
        "series": [_series("temperature", "Cel")],
        "series_index": bytes(4),
        "time_unix_ns": NOW.to_bytes(8, "little"),
        "value": bytes(8),
        "quality": b"",
    }
    view = frame_view_pb2.ReadingBatchView(**{**good, **fields})  # type: ignore[arg-type]  # a table of cases
    return frame_view_pb2.FrameView(readings=view).SerializeToString()


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"\xff\xff\xff", "not a protobuf frame"),
        (b"", "neither readings, gap nor heartbeat"),
        (_view(value=bytes(7)), "a column does not hold `count` values"),
        (_view(value=bytes(16)), "a column does not hold `count` values"),
        (_view(time_unix_ns=b""), "a column does not hold `count` values"),
        (_view(quality=bytes(2)), "a column does not hold `count` values"),
        (_view(count=2**32 - 1), "a column does not hold `count` values"),
        (_view(count=0), "sequence numbers are not 1 <= first <= last < 2^63"),
        (_view(first_seq=0), "sequence numbers are not 1 <= first <= last < 2^63"),
        (_view(first_seq=2**63), "sequence numbers are not 1 <= first <= last < 2^63"),
        (_view(epoch=0), "epoch is 0"),
        (_view(series=[]), "series_index points beyond the series"),
        (_view(series_index=b"\1\0\0\0"), "series_index points beyond the series"),
        (_view(series=[_series("No Metric", "Cel")]), "a metric breaks its rule"),
        (_view(series=[_series("temperature", "")]), "a unit breaks its rule"),
        (gap(EPOCH, 5, 4).SerializeToString(), "sequence numbers are not 1 <= first <= last < 2^63"),
    ],
)
def test_undecodable_frames_are_counted_and_the_stream_goes_on(frame: bytes, reason: str) -> None:
    """A bad frame is noted with its reason and size; the frames around it are taken."""
    one = session()
    items = one.feed(body(batch(EPOCH, 1, 1)) + delimit(frame) + body(batch(EPOCH, 2, 1)), BOUNDS)
    assert [seq for _, seq, _, _ in rows(items)] == [1, 2]
    (note,) = notes(items)
    assert isinstance(note, Undecodable)
    assert (note.frames, note.byte_count, note.reason) == (1, len(frame), reason)
    assert one.lost is None


def test_readings_in_an_undecodable_frame_are_a_hole() -> None:
    """What a bad frame held is not passed over in silence."""
    items = session().feed(body(batch(EPOCH, 1, 1)) + delimit(b"\xff") + body(batch(EPOCH, 4, 1)), BOUNDS)
    assert Hole("press-1", EPOCH, 2, 3, "skipped") in items


def test_lost_framing_ends_the_stream() -> None:
    """Frames before the damage are taken, it is counted, and nothing after it is read."""
    one = session()
    items = one.feed(body(batch(EPOCH, 1, 2)) + b"\xff\xff\xff\xff\xff" + body(batch(EPOCH, 3, 1)), BOUNDS)
    assert [seq for _, seq, _, _ in rows(items)] == [1, 2]
    (note,) = notes(items)
    assert isinstance(note, Undecodable)
    assert note.reason == "framing lost"
    assert one.lost is not None
    assert one.feed(body(batch(EPOCH, 3, 1)), BOUNDS) == []


@given(st.binary(max_size=200))
def test_no_bytes_break_a_session(data: bytes) -> None:
    """Whatever comes, a session delivers or notes; it never raises."""
    one = session()
    for item in one.feed(data, BOUNDS):
        assert isinstance(item, (Readings, Duplicates, Hole, Undecodable))
