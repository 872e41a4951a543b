"""Any bytes, cut anywhere, joined anywhere, between valid input: sessions of both encodings."""

from __future__ import annotations

import tracemalloc

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ext_proc.session.cursor import SensorCursor
from ext_proc.session.encodings import AnySession, open_session
from ext_proc.session.model import SensorProfile, TimeBounds
from tests.session.frames import NOW, batch, body, gap, heartbeat
from tests.session.outcome import outcome, pieces
from wire.frames import MAX_FRAME_BYTES, delimit
from wire.gen.gaugeway.readings.v1 import readings_pb2
from wire.names import FRAMES_CONTENT_TYPE, SENML_CONTENT_TYPE, SENSML_CONTENT_TYPE
from wire.senml_stream import MAX_RECORD_BYTES

BOUNDS = TimeBounds(NOW - 10**16, NOW + 10**10, NOW)
UNITS = {"temperature": "Cel", "pressure": "kPa"}
EPOCH = 11
CUTS = st.lists(st.integers(0, 10_000), max_size=12)

SESSIONS = (FRAMES_CONTENT_TYPE, SENML_CONTENT_TYPE, SENSML_CONTENT_TYPE)


def session(content_type: str) -> AnySession:
    """Return a session of press-1 for a content type; an earlier stream was in epoch 3."""
    profile = SensorProfile("press-1", "hall-3", UNITS)
    opened = open_session(content_type, profile, SensorCursor({3: 5}), lambda: EPOCH)
    assert opened is not None
    return opened


# --- frames: good ones, bad ones within good framing, and bytes that are neither ---------------

FLOATS = st.floats(allow_nan=True, allow_infinity=True)
TIMES = st.one_of(
    st.integers(NOW - 10**6, NOW + 10**6),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([0, NOW + 10**12]),
)


@st.composite
def good_frames(draw: st.DrawFn) -> bytes:
    """Return a frame that is decodable; its readings may still be quarantined."""
    kind = draw(st.sampled_from(["readings", "readings", "gap", "heartbeat"]))
    epoch = draw(st.sampled_from([3, 7, 2**64 - 1]))
    first = draw(st.integers(1, 40))
    count = draw(st.integers(1, 6))
    if kind == "gap":
        return body(gap(epoch, first, first + count))
    if kind == "heartbeat":
        return body(heartbeat(epoch, first))
    series = draw(
        st.sampled_from([[("temperature", "Cel")], [("temperature", "K")], [("noise", "dB"), ("x", "1")]])
    )
    values = draw(st.lists(FLOATS, min_size=count, max_size=count))
    times = draw(st.lists(TIMES, min_size=count, max_size=count))
    return body(batch(epoch, first, count, series=series, values=values, times=times))


@st.composite
def damaged_frames(draw: st.DrawFn) -> bytes:
    """Return a frame with its length, whose content was damaged: bytes changed, cut off or put in."""
    frame = bytearray(batch(7, draw(st.integers(1, 40)), draw(st.integers(1, 5))).SerializeToString())
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(frame) - 1))
        frame[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
        frame = frame or bytearray(b"\0")
    return delimit(bytes(frame))


FRAME_BODIES = st.lists(
    st.one_of(
        good_frames(),
        good_frames(),
        damaged_frames(),
        st.binary(max_size=60).map(delimit),
        st.binary(max_size=9),
    ),
    max_size=8,
).map(b"".join)

# --- SenML: records good and bad, and what is no pack ------------------------------------------

NAMES = st.sampled_from(
    ["temperature", "pressure", "urn:dev:1:temperature", "a/pressure", "Noise", "x y", ""]
)
NUMBERS = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**70), 2**70))
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "bn": NAMES,
        "n": NAMES,
        "bt": st.sampled_from([0, 1.8e9, -5, 1e308, 2**28]),
        "t": st.sampled_from([0, 1, -1.5, 1e308, 1.8e9]),
        "u": st.sampled_from(["Cel", "Pa", "kPa", "K", "%RH", " ", ""]),
        "bu": st.sampled_from(["Cel", "Pa"]),
        "v": NUMBERS,
        "bv": NUMBERS,
        "vb": st.booleans(),
        "vs": st.text(max_size=6),
        "vd": st.just("aGVsbG8"),
        "s": NUMBERS,
        "bver": st.sampled_from([5, 10, 26, 11, 1.5]),
        "x": st.recursive(st.integers(0, 3) | st.text(max_size=4), lambda inner: st.lists(inner, max_size=2)),
        "must_": st.integers(0, 1),
    },
).map(msgspec.json.encode)
BAD_RECORDS = st.sampled_from(
    rb"""
    {} {"v":NaN} {"v":1e999} {"v":"1"} {"bn":1} {"bn":"a","v":} {"v":1,} {"n":"}","v":1} {"n":"\"{[","v":1}
    {]} {[} [1] 1 {"x":{"y":[{}]},"v":2} {"v":null} {"n":"a\u005f","a\u005f":1} {"vs":"a","v":1}
    {"n":"#","v":1}
    """.replace(b"#", b"\xff").split()
)
WHITE = st.text(" \n\r\t", max_size=3).map(str.encode)
PACKS = st.lists(st.one_of(FIELDS, FIELDS, BAD_RECORDS, WHITE), max_size=8).map(
    lambda records: b"[" + b",".join(records) + b"]"
)
SENML_BODIES = st.lists(st.one_of(PACKS, PACKS, WHITE, st.binary(max_size=9)), max_size=4).map(b"".join)
BODIES = {
    FRAMES_CONTENT_TYPE: FRAME_BODIES,
    SENML_CONTENT_TYPE: SENML_BODIES,
    SENSML_CONTENT_TYPE: SENML_BODIES,
}


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
