"""A session of SenML: what a device that numbers nothing becomes."""

from __future__ import annotations

import msgspec
import pytest

from ext_proc.session.cursor import SensorCursor
from ext_proc.session.encodings import open_session
from ext_proc.session.model import Interruption, Readings, SensorProfile, TimeBounds
from ext_proc.session.senml import SenmlSession
from ext_proc.session.session import Session
from tests.session.frames import NOW
from tests.session.outcome import outcome
from wire.journal import Verdict
from wire.names import FRAMES_CONTENT_TYPE, SENML_CONTENT_TYPE, SENSML_CONTENT_TYPE

NS = 1_000_000_000
BOUNDS = TimeBounds(NOW - 3600 * NS, NOW + 10 * NS, NOW)
PROFILE = SensorProfile("press-1", "hall-3", {"temperature": "Cel", "pressure": "kPa", "parts": "{parts}"})
EPOCH = 77


def session(cursor: SensorCursor | None = None, *, streaming: bool = True) -> SenmlSession:
    """Return a session of press-1 in the epoch EPOCH."""
    return SenmlSession(PROFILE, cursor or SensorCursor(), EPOCH, streaming=streaming)


def pack(*records: dict[str, object]) -> bytes:
    """Return records as a pack."""
    return msgspec.json.encode(records)


def test_records_become_columns() -> None:
    """Numbered from 1, in the stream's own epoch, with the declared metrics and units."""
    (item,) = session().feed(
        pack(
            {"bn": "urn:dev:mac:0024befffe804ff1:", "n": "temperature", "u": "Cel", "v": 21.5, "t": -1},
            {"n": "pressure", "u": "Pa", "v": 101_325},
            {"n": "parts", "u": "count", "v": 7},
        ),
        BOUNDS,
    )
    assert isinstance(item, Readings)
    assert (item.sensor_id, item.site, item.epoch, item.first_seq, item.last_seq) == (
        "press-1",
        "hall-3",
        EPOCH,
        1,
        3,
    )
    assert [item.series[place] for place in item.series_index] == [
        ("temperature", "Cel"),
        ("pressure", "kPa"),
        ("parts", "{parts}"),
    ]
    assert item.time_unix_ns.tolist() == [NOW - NS, NOW, NOW]
    assert item.value.tolist() == [21.5, 101.325, 7.0]
    assert item.quality.tolist() == item.verdict.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("record", "unit", "verdict"),
    [
        ({"n": "temperature", "u": "K", "v": 294}, "K", Verdict.WRONG_UNIT),
        ({"n": "temperature", "v": 294}, "1", Verdict.WRONG_UNIT),
        ({"n": "humidity", "u": "%RH", "v": 50}, "%RH", Verdict.UNKNOWN_METRIC),
        ({"n": "temperature", "u": "Cel", "v": 1, "t": 11}, "Cel", Verdict.FUTURE),
        ({"n": "temperature", "u": "Cel", "v": 1, "t": -3601}, "Cel", Verdict.PAST),
        ({"n": "temperature", "u": "Cel", "v": 1, "t": 1e300}, "Cel", Verdict.FUTURE),
        ({"n": "temperature", "u": "Cel", "v": 1.7e308, "bv": 1.7e308}, "Cel", Verdict.NOT_FINITE),
        ({"n": "temperature", "u": "Cel", "v": 1, "t": -3600}, "Cel", Verdict.OK),
    ],
)
def test_verdicts(record: dict[str, object], unit: str, verdict: Verdict) -> None:
    """Each reason has its verdict, is counted by it, and has the record's place."""
    one = session()
    made = outcome(one, [b"[ " + msgspec.json.encode(record)], BOUNDS)
    assert [(row[3], row[6]) for row in made.rows] == [(unit, verdict)]
    assert made.rejected == ({} if verdict is Verdict.OK else {verdict.name.lower(): (1, 2)})


def test_names_that_cannot_be_in_the_journal_are_refused() -> None:
    """They make no row; those around them keep their own values and times, and gap-free numbers."""
    good: list[dict[str, object]] = [
        {"n": "temperature", "u": "Cel", "v": nth, "t": -nth} for nth in range(2)
    ]
    bad: list[dict[str, object]] = [
        {"n": "Not A Metric", "v": 7, "t": -7},
        {"n": "x", "u": "a b", "v": 8, "t": -8},
    ]
    made = outcome(session(), [pack(good[0], *bad, good[1])], BOUNDS)
    assert [(row[1], row[4], row[5]) for row in made.rows] == [(1, NOW, 0), (2, NOW - NS, 1)]
    assert made.notes["frames", EPOCH, "a metric breaks its rule"] == 1
    assert made.notes["frames", EPOCH, "a unit breaks its rule"] == 1


def test_large_tables_are_not_delivered_whole() -> None:
    """A device with many names brings the journal only those of its latest records."""
    one = session()
    one.feed(b"[" + b",".join(b'{"n":"m%d","v":1}' % nth for nth in range(200)), BOUNDS)
    (item,) = one.feed(b',{"n":"m150","v":2},{"n":"m7","v":3},{"n":"m150","v":4}', BOUNDS)
    assert isinstance(item, Readings)
    assert item.series == (("m7", "1"), ("m150", "1"))
    assert item.series_index.tolist() == [1, 0, 1]


def test_a_later_stream_is_an_interruption() -> None:
    """Said once, before its first readings, if there was any stream before; nothing tells what was missed."""
    cursor = SensorCursor()
    assert not any(
        isinstance(item, Interruption) for item in session(cursor).feed(pack({"n": "x", "v": 1}), BOUNDS)
    )
    later = SenmlSession(PROFILE, cursor, 78, streaming=True)
    assert later.feed(b"[", BOUNDS) == []
    items = later.feed(b'{"n":"x","v":1},{"n":"x","v":1}', BOUNDS)
    assert items[0] == Interruption("press-1", 78)
    assert not any(isinstance(item, Interruption) for item in items[1:])
    assert not any(isinstance(item, Interruption) for item in later.feed(b',{"n":"x","v":1}', BOUNDS))
    assert cursor.newest == (78, 3)


def test_units_follow_the_profile() -> None:
    """A metric that is declared while the stream is open counts from then on."""
    one = session()
    first = outcome(one, [b'[{"n":"humidity","u":"%RH","v":50}'], BOUNDS)
    one.change_profile(SensorProfile("press-1", "hall-3", {"humidity": "%"}))
    second = outcome(one, [b',{"n":"humidity","u":"%RH","v":51}'], BOUNDS)
    assert [row[3:4] + row[6:] for row in first.rows + second.rows] == [
        ("%RH", Verdict.UNKNOWN_METRIC),
        ("%", Verdict.OK),
    ]


@pytest.mark.parametrize(
    ("body", "streaming", "complete", "reasons"),
    [
        (b'[{"n":"a', True, True, ["the stream ended within a record"]),
        (b'[{"n":"a', True, False, ["the stream ended within a record"]),
        (b"[{}", True, True, []),
        (b"[{}", False, True, ["the stream ended within a pack"]),
        (b"[{}", False, False, []),
        (b"[{}]", False, True, []),
    ],
)
def test_what_the_end_of_a_stream_says(
    body: bytes, streaming: bool, complete: bool, reasons: list[str]
) -> None:
    """A cut record is lost, for nothing sends it again; a pack that must end is missed if it does not."""
    one = session(streaming=streaming)
    one.feed(body, BOUNDS)
    one.finish(complete=complete)
    assert [rejection.reason for rejection in one.rejections.take()] == reasons


def test_signs_of_life() -> None:
    """Records and white space between them count; the middle of a record does not."""
    one = session()
    counts = []
    for part in (b"[", b"\n", b'{"n":"a"', b',"v":1', b"}", b" "):
        before = one.frames
        one.feed(part, BOUNDS)
        counts.append(one.frames > before)
    assert counts == [True, True, False, False, True, True]


def test_polled_devices() -> None:
    """One that has answered with whole packs is polled; a stream is not, nor one that says nothing."""
    one = session(streaming=False)
    polled = [one.is_polled]
    for part in (b"[{}", b"]\n", b"["):
        one.feed(part, BOUNDS)
        polled.append(one.is_polled)
    assert polled == [False, False, True, False]
    stream = session()
    stream.feed(b"[]", BOUNDS)
    assert not stream.is_polled


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        (FRAMES_CONTENT_TYPE, Session),
        (SENML_CONTENT_TYPE, SenmlSession),
        (SENSML_CONTENT_TYPE + "; charset=utf-8", SenmlSession),
        ("Application/SenML+JSON", SenmlSession),
        ("application/json", type(None)),
        ("application/senml+cbor", type(None)),
        ("", type(None)),
    ],
)
def test_sessions_by_content_type(content_type: str, kind: type) -> None:
    """Parameters and case do not matter; what nothing reads gets no session."""
    assert type(open_session(content_type, PROFILE, SensorCursor(), lambda: EPOCH)) is kind
