"""Any bytes, cut anywhere, joined anywhere, between valid input: sessions of both encodings."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.session.bodies import BAD_RECORDS, BODIES, BOUNDS, CUTS, SESSIONS, session
from tests.session.frames import NOW, batch, body
from tests.session.outcome import outcome, pieces
from wire.frames import MAX_FRAME_BYTES, delimit
from wire.gen.gaugeway.readings.v1 import readings_pb2
from wire.names import FRAMES_CONTENT_TYPE, SENML_CONTENT_TYPE, SENSML_CONTENT_TYPE
from wire.senml_stream import MAX_RECORD_BYTES


@pytest.mark.parametrize("content_type", SESSIONS)
@given(data=st.data(), cuts=CUTS)
@settings(deadline=None, max_examples=60)
def test_where_it_is_cut_changes_nothing(content_type: str, data: st.DataObject, cuts: list[int]) -> None:
    """A body gives the same rows, notes and rejections in one piece, in any pieces, and byte by byte."""
    whole = data.draw(BODIES[content_type])
    expected = outcome(session(content_type), [whole], BOUNDS)
    assert outcome(session(content_type), pieces(whole, cuts), BOUNDS) == expected
    assert outcome(session(content_type), pieces(whole, range(len(whole))), BOUNDS) == expected


@pytest.mark.parametrize("content_type", SESSIONS)
@given(parts=st.lists(st.binary(max_size=80), max_size=6))
@example(parts=[b"[" * 60])
@example(parts=[b"\xff\xff\xff\x7f" + bytes(40)])
@settings(deadline=None, max_examples=60)
def test_no_bytes_break_a_session(content_type: str, parts: list[bytes]) -> None:
    """Whatever comes, a session delivers or notes; it never raises, and says nothing after it is lost."""
    one = session(content_type)
    made = outcome(one, parts, BOUNDS)
    assert made.lost == (one.lost is not None)
    if made.lost:
        assert one.feed(b"[]", BOUNDS) == []
        assert one.finish(complete=True) == []


@given(before=st.integers(0, 5), junk=st.lists(st.binary(min_size=1, max_size=40), max_size=4), cuts=CUTS)
@settings(deadline=None, max_examples=40)
def test_good_frames_before_a_loss_are_all_there(before: int, junk: list[bytes], cuts: list[int]) -> None:
    """Bad frames between them cost themselves; what comes after the loss is not read."""
    good = [body(batch(2**63 + 5, 1 + 3 * nth, 3)) for nth in range(before)]
    bad = [delimit(b"\xff" + part) for part in junk]
    mixed = [part for pair in zip(good, bad, strict=False) for part in pair] + good[len(bad) :]
    whole = b"".join(mixed) + b"\xff\xff\xff\xff\x0f" + b"".join(good)
    made = outcome(session(FRAMES_CONTENT_TYPE), pieces(whole, cuts), BOUNDS)
    assert [row[1] for row in made.rows] == list(range(1, 3 * before + 1))
    assert made.lost
    assert made.notes["frames", 0, "not a protobuf frame"] == min(len(bad), len(good))
    assert made.rejected["framing lost"] == (1, len(b"".join(mixed)))


@given(count=st.integers(0, 6), bad=st.lists(BAD_RECORDS, max_size=3), cuts=CUTS)
@settings(deadline=None, max_examples=40)
def test_good_records_before_a_loss_are_all_there(count: int, bad: list[bytes], cuts: list[int]) -> None:
    """Every record before the place where the pack breaks is delivered."""
    good = [b'{"n":"temperature","u":"Cel","v":%d}' % nth for nth in range(count)]
    whole = b"[" + b",".join([*good, b'{"bn":"lost'])[:-1] + b'",]' + b",".join([*bad, *good])
    made = outcome(session(SENSML_CONTENT_TYPE), pieces(whole, cuts), BOUNDS)
    assert [row[5] for row in made.rows] == list(range(count))
    assert made.lost


@pytest.mark.parametrize(
    ("content_type", "start", "endless", "limit"),
    [
        (FRAMES_CONTENT_TYPE, b"\xff\xff\xff\x01", b"x", MAX_FRAME_BYTES),
        (SENSML_CONTENT_TYPE, b'[{"n":"', b"x", MAX_RECORD_BYTES),
        (SENSML_CONTENT_TYPE, b'[{"x":[', b"1,", MAX_RECORD_BYTES),
        (SENSML_CONTENT_TYPE, b"[", b" ", 0),
        (SENML_CONTENT_TYPE, b"", b'[{"n":"temperature","v":1,"u":"K"}]', 64),
    ],
)
def test_memory_is_bounded(content_type: str, start: bytes, endless: bytes, limit: int) -> None:
    """A body that never comes to an end keeps no more than one frame or record waiting."""
    one = session(content_type)
    one.feed(start, BOUNDS)
    piece = endless * (50_000 // len(endless))
    tracemalloc.start()
    try:
        for _ in range(5 if limit < 100 else 100):
            one.feed(piece, BOUNDS)
            one.rejections.take()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept <= 2 * limit + 100_000


def test_many_names_fill_no_memory() -> None:
    """A device that makes up a name for each record is held at a few thousand series."""
    one = session(SENSML_CONTENT_TYPE)
    one.feed(b"[", BOUNDS)
    for start in range(0, 10_000, 500):
        records = [b'{"n":"m%d","v":1,"u":"K"}' % nth for nth in range(start, start + 500)]
        one.feed(b",".join(records) + b",", BOUNDS)
    counts = {rejection.reason: rejection.count for rejection in one.rejections.take()}
    assert counts == {"unknown_metric": 4096, "more than 4096 names": 10_000 - 4096}


def test_absurd_frames_cost_themselves() -> None:
    """A million metrics, a count without columns, a negative count: refused, and the stream goes on."""
    many = readings_pb2.ReadingBatch(
        epoch=7, first_seq=1, count=1, series_index=[0], time_unix_ns=[NOW], value=[1]
    )
    crowd = readings_pb2.Frame(readings=many).SerializeToString()
    inner = many.SerializeToString() + b"\x22\x00" * 1_000_000
    crowd = readings_pb2.Frame(readings=readings_pb2.ReadingBatch.FromString(inner)).SerializeToString()
    negative = readings_pb2.Frame(
        readings=readings_pb2.ReadingBatch.FromString(b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
    ).SerializeToString()
    one = session(FRAMES_CONTENT_TYPE)
    made = outcome(one, [delimit(crowd) + delimit(negative) + body(batch(9, 1, 2))], BOUNDS)
    assert [row[1] for row in made.rows] == [1, 2]
    assert made.rejected["more than 4096 series"] == (1, 0)
    assert not made.lost
