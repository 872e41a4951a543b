"""What could not be used: counted, shown and logged, within bounds."""

from __future__ import annotations

from ext_proc.session.bad_input import LOG_EVERY_NS, LOG_LINES, MAX_SAMPLES, BadInput
from ext_proc.session.cursor import SensorCursor
from ext_proc.session.model import SensorProfile, TimeBounds, Undecodable
from ext_proc.session.rejections import MAX_REASONS, Rejection, Rejections
from ext_proc.session.session import Session
from tests.session.frames import NOW, batch, body
from wire.frames import delimit

BOUNDS = TimeBounds(NOW - 10**12, NOW + 10**10, NOW)


def rejection(reason: str = "epoch is 0", count: int = 1) -> Rejection:
    """Return a rejection at offset 5."""
    return Rejection(reason, count, 7, 5, b"\xff")


def test_frames_say_where_they_were() -> None:
    """Offset, first bytes and epoch of the first of each reason; like ones side by side are one note."""
    one = Session(SensorProfile("press-1", "hall-3", {"temperature": "Cel"}), SensorCursor())
    good = body(batch(9, 1, 1, series=[("temperature", "Cel")]))
    wrong = body(batch(9, 2, 3, series=[("temperature", "K")], values=[1.0, float("nan"), 2.0]))
    junk = delimit(b"\xff" * 50)
    items = one.feed(good + junk + junk + wrong, BOUNDS)
    at = len(good)
    assert items[1] == Undecodable("press-1", 0, 2, 100, "not a protobuf frame", at, b"\xff" * 32)
    framed = wrong[1:]
    assert one.rejections.take() == [
        Rejection("not a protobuf frame", 2, 0, at, b"\xff" * 32),
        Rejection("not_finite", 1, 9, at + 2 * len(junk), framed[:32]),
        Rejection("wrong_unit", 2, 9, at + 2 * len(junk), framed[:32]),
    ]
    assert one.rejections.take() == []


def test_quarantined_readings_that_come_again_are_duplicates() -> None:
    """They are counted by their verdict once."""
    one = Session(SensorProfile("press-1", "hall-3", {"temperature": "Cel"}), SensorCursor())
    for first, count, fresh in ((1, 4, 4), (3, 4, 2), (3, 4, None)):
        one.feed(body(batch(9, first, count, series=[("temperature", "K")])), BOUNDS)
        counts = [rejection.count for rejection in one.rejections.take()]
        assert counts == ([] if fresh is None else [fresh])


def test_a_cut_frame_counts_only_if_the_stream_ended_in_order() -> None:
    """What was cut off comes again from the cursor; what a device ended in the middle of a frame does not."""
    for complete, notes in ((False, 0), (True, 1)):
        one = Session(SensorProfile("press-1", "hall-3", {}), SensorCursor())
        one.feed(b"\x05abc", BOUNDS)
        items = one.finish(complete=complete)
        assert len(items) == len(one.rejections.take()) == notes
    assert items == [Undecodable("press-1", 0, 1, 4, "the stream ended within a frame", 0, b"\x05abc")]


def test_reasons_are_bounded() -> None:
    """A reason too many is counted with the others of its kind."""
    rejections = Rejections()
    for nth in range(MAX_REASONS + 5):
        rejections.add(f"reason {nth}", 1, 0, 0, b"")
    taken = rejections.take()
    assert len(taken) == MAX_REASONS + 1
    assert (taken[-1].reason, taken[-1].count) == ("other", 5)


def test_counts_and_samples() -> None:
    """Counts add up; of each sensor and reason the newest place is kept, and only so many of all."""
    bad = BadInput()
    for nth in range(MAX_SAMPLES + 10):
        bad.add(f"press-{nth}", 1, [rejection(count=2)], NOW + nth)
    bad.add("press-20", 3, [rejection(), rejection("past")], NOW + 1000)
    assert bad.counts == {"epoch is 0": 2 * (MAX_SAMPLES + 10) + 1, "past": 1}
    assert len(bad.samples) == MAX_SAMPLES
    newest = bad.samples[1]
    assert (newest.sensor_id, newest.stream, newest.at_unix_ns) == ("press-20", 3, NOW + 1000)


def test_what_is_no_fault_is_only_counted() -> None:
    """A device that also tells a switch's position fills neither the log nor the samples."""
    bad = BadInput()
    assert bad.add("press-1", 1, [rejection("a boolean value", 3)], NOW) == []
    assert (bad.counts, bad.samples) == ({"a boolean value": 3}, [])


def test_log_lines_are_limited() -> None:
    """One line for a reason of a sensor, a few for all, in each span; the next says how many were not."""
    bad = BadInput()
    lines = [bad.add("press-1", 1, [rejection(count=4)], NOW + nth) for nth in range(3)]
    assert [len(line) for line in lines] == [1, 0, 0]
    (line,) = bad.add("press-1", 1, [rejection()], NOW + LOG_EVERY_NS)
    assert (line.sample.sensor_id, line.unlogged) == ("press-1", 8)
    storm = [bad.add(f"press-{nth}", 1, [rejection()], NOW + 2 * LOG_EVERY_NS) for nth in range(100)]
    assert sum(len(line) for line in storm) == LOG_LINES
    assert bad.add("press-1", 1, [rejection("past")], NOW) != []  # a clock that was set back stops nothing
