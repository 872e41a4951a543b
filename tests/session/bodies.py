"""Bodies for sessions of every encoding: good input, bad input in good framing, and what is neither."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st

from ext_proc.session.cursor import SensorCursor
from ext_proc.session.encodings import AnySession, open_session
from ext_proc.session.model import SensorProfile, TimeBounds
from tests.session.frames import NOW, batch, body, gap, heartbeat
from wire.frames import delimit
from wire.names import FRAMES_CONTENT_TYPE, SENML_CONTENT_TYPE, SENSML_CONTENT_TYPE

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
