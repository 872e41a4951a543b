"""SenML: records found in a body that may be cut anywhere, and resolved (RFC 8428)."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.session.outcome import pieces
from wire.senml import MAX_NAME, MAX_QUANTITIES, Resolver
from wire.senml_stream import MAX_RECORD_BYTES, BadRecord, Loss, RecordReader, Records
from wire.senml_units import Factor, factor

NS = 1_000_000_000
NOW = 1_800_000_000 * NS
Resolution = tuple[str, str, int, float]


def resolve(body: bytes, now_unix_ns: int = NOW) -> tuple[list[Resolution], dict[str, int], Loss | None]:
    """Return (name, unit, time in ns, value) of every number, what else there was by reason, and the loss."""
    reader, resolver = RecordReader(), Resolver()
    rows: list[Resolution] = []
    others: dict[str, int] = {}
    for item in reader.feed(body):
        if isinstance(item, BadRecord):
            resolver.skip(item)
            others[item.reason] = others.get(item.reason, 0) + 1
            continue
        found = resolver.resolve(item, now_unix_ns)
        columns = found.quantity.tolist(), found.time_unix_ns.tolist(), found.value.tolist()
        for index, time, value in zip(*columns, strict=True):
            quantity = resolver.quantities[index]
            rows.append((quantity.name, quantity.unit, time, value))
        reasons = [reason for _, reason in found.refused]
        reasons += [reason for reason, places in found.not_numeric.items() for _ in places]
        for reason in reasons:
            others[reason] = others.get(reason, 0) + 1
    return rows, others, reader.lost


def pack(*records: dict[str, Any]) -> bytes:
    """Return records as a pack."""
    return json.dumps(records).encode()


def test_a_single_number() -> None:
    """RFC 8428, section 5.1.1: a name, a unit, a value; no time is now."""
    rows, others, lost = resolve(b'[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]')
    assert rows == [("urn:dev:ow:10e2073a01080063", "Cel", NOW, 23.1)]
    assert (others, lost) == ({}, None)


def test_base_fields_are_in_force_until_others_come() -> None:
    """RFC 8428, section 5.1.2: a base name, time, unit and version, some of them overridden."""
    base = {"bn": "urn:dev:ow:10e2073a0108006:", "bt": 1.276020076001e09, "bu": "A", "bver": 5}
    rows, others, _ = resolve(
        pack(
            {**base, "n": "voltage", "u": "V", "v": 120.1},
            *({"n": "current", "t": t, "v": 1.2 + t / 10} for t in range(-5, 0)),
            {"n": "current", "v": 1.7},
        )
    )
    name = "urn:dev:ow:10e2073a0108006:"
    assert rows[0] == (name + "voltage", "V", 1276020076001000000, 120.1)
    assert [(row[0], row[1]) for row in rows[1:]] == [(name + "current", "A")] * 6
    assert [row[2] for row in rows[1:]] == [1276020076001000000 + t * NS for t in range(-5, 1)]
    assert others == {}


def test_base_values_are_added() -> None:
    """RFC 8428, section 4.5.4: a value that is absent is 0, if there is a base value."""
    rows, others, _ = resolve(
        pack(
            {"bn": "a", "bv": 20.0, "v": 1.5},
            {"v": -0.5},
            {"n": "b", "t": 1},
            {"n": "c", "vs": "x"},
            {"n": "d", "s": 3},
        )
    )
    assert [(name, value) for name, _, _, value in rows] == [("a", 21.5), ("a", 19.5), ("ab", 20.0)]
    assert others == {"a string value": 1, "a sum only": 1}


def test_values_that_are_no_numbers_are_counted() -> None:
    """Strings, booleans, data, sums and nothing: each by its reason; a base record alone is none of them."""
    records: list[dict[str, Any]] = [
        {"bn": "x/", "bt": 5},
        {"n": "a", "vs": "on"},
        {"n": "a", "vb": False},
        {"n": "a", "vd": "aGk"},
        {"n": "a", "s": 1},
        {"n": "a", "ut": 1},
        {"n": "a", "v": None},
        {"n": "a", "v": 1, "vs": "1"},
        {"n": "a", "v": 1, "s": 9},
    ]
    rows, others, lost = resolve(pack(*records))
    assert [row[3] for row in rows] == [1]
    assert others == {
        "a string value": 1,
        "a boolean value": 1,
        "a data value": 1,
        "a sum only": 1,
        "no value": 2,
        "more than one value": 1,
    }
    assert lost is None


@pytest.mark.parametrize(
    ("bt", "t", "expected"),
    [
        (0, 0, NOW),
        (0, -2.5, NOW - 2_500_000_000),
        (0, 3, NOW + 3 * NS),
        (2**28 - 1, 0, NOW + (2**28 - 1) * NS),
        (2**28, 0, 2**28 * NS),
        (2**28, -1, NOW + (2**28 - 1) * NS),
        (1.8e9, 0.000001, 1_800_000_000_000_001_000),
        (1_799_999_999.123456, 0, 1_799_999_999_123_456_000),
        (1e300, 0, 9_200_000_000 * NS),
        (-1e300, 0, NOW - 9_200_000_000 * NS),
        (1.7e308, 1.7e308, 9_200_000_000 * NS),
    ],
)
def test_times(bt: float, t: float, expected: int) -> None:
    """Below 2^28 s they are relative to now, which is given; to the microsecond; never out of range."""
    assert resolve(pack({"bt": bt, "n": "a", "v": 1, "t": t}))[0][0][2] == expected


def test_each_pack_has_its_own_bases() -> None:
    """A body with several packs: nothing of one is in force in the next."""
    rows, others, lost = resolve(
        pack({"bn": "a/", "bu": "Cel", "bv": 1, "bt": 1e9, "n": "x", "v": 1})
        + b"\n"
        + pack({"n": "x", "v": 1})
        + b"[]"
    )
    assert rows == [("a/x", "Cel", 10**18, 2.0), ("x", "", NOW, 1.0)]
    assert (others, lost) == ({}, None)


@pytest.mark.parametrize(
    ("version", "taken"), [(1, 1), (5, 1), (10, 1), (26, 1), (11, 0), (42, 0), (10.5, 0)]
)
def test_versions(version: float, taken: int) -> None:
    """Records of a version that is not known must not be used (RFC 8428, section 4.4); the next pack may."""
    rows, others, _ = resolve(
        pack({"bver": version, "n": "a", "v": 1}, {"n": "a", "v": 2}) + pack({"n": "a", "v": 3})
    )
    assert len(rows) == 2 * taken + 1
    assert others == ({} if taken else {"a version that is not known": 2})


def test_fields_that_must_be_understood() -> None:
    """A label that ends with '_' refuses its record, however written; other unknown ones are ignored."""
    rows, others, lost = resolve(
        rb'[{"n":"a","v":1,"new":{"x":[1,{}]}},{"n":"a","v":2,"new_":1},{"n":"a","v":3,"new\u005f":1},'
        rb'{"n":"a_","v":4}]'
    )
    assert [row[3] for row in rows] == [1, 4]
    assert others == {"a field that must be understood is not known": 2}
    assert lost is None


def test_base_fields_of_a_bad_record_stay_in_force() -> None:
    """What follows a record with a wrong type, a number too large or none is resolved all the same."""
    for value, reason in (
        (b'"NaN"', "a field has the wrong type"),
        (b"1e999", "a number is out of range"),
        (b"NaN", "a record is not JSON"),
        (b"-Infinity", "a record is not JSON"),
    ):
        rows, others, lost = resolve(b'[{"bn":"NaN/","bt":1e9,"n":"x","v":%b},{"n":"x","v":1}]' % value)
        assert rows == [("NaN/x", "", 10**18, 1.0)]
        assert (others, lost) == ({reason: 1}, None)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"bn":1,"v":1}', "a field has the wrong type, so base fields may be lost"),
        (b'{"bn":"a","v":}', "a record is not JSON, so base fields may be lost"),
        (b'{"bn_":"a"}', "a field that must be understood is not known, so base fields may be lost"),
        (b"{[}", "the brackets of a record do not match"),
        (b'{"x":' + b"[" * 40, "a record is nested deeper than 32"),
        (b'{"n":"' + b"x" * MAX_RECORD_BYTES, f"a record is above {MAX_RECORD_BYTES} bytes"),
        (b"17", "the body is no SenML pack of records"),
        (b"]", "the body is no SenML pack of records"),
    ],
)
def test_what_cannot_be_resolved_rightly_ends_the_body(bad: bytes, reason: str) -> None:
    """Where records end, or which base fields are in force, is not known; records before it are there."""
    body = b'[{"n":"x","v":1},'
    rows, others, lost = resolve(body + bad + b',{"n":"x","v":2}]')
    assert [row[3] for row in rows] == [1]
    assert others == {}
    assert lost is not None
    assert (lost.reason, lost.place.offset) == (reason, len(body))


def test_bad_records_without_base_fields_cost_themselves() -> None:
    """Garbage between good records is counted, with its place in the body."""
    body = b'[{"n":"x","v":1},{"v":NaN},{"n":"}\\"{","v":2},{"v":1e999},{"n":"\xff","v":1},{"n":"x","v":3}]'
    rows, others, lost = resolve(body)
    assert [row[3] for row in rows] == [1, 2, 3]
    assert others == {"a record is not JSON": 2, "a number is out of range": 1}
    assert lost is None
    bad = [item for item in RecordReader().feed(body) if isinstance(item, BadRecord)]
    assert [body[one.place.offset :][: one.place.size] for one in bad] == [
        b'{"v":NaN}',
        b'{"v":1e999}',
        b'{"n":"\xff","v":1}',
    ]


LABELS = st.sampled_from(["n", "u", "vs"])
NESTED = st.recursive(
    st.text(max_size=4), lambda inner: st.dictionaries(st.text(max_size=2), inner, max_size=2)
)


@given(
    records=st.lists(
        st.builds(
            dict.__or__,
            st.dictionaries(LABELS, st.text(max_size=8)),
            st.dictionaries(st.just("x"), NESTED),
        ),
        max_size=12,
    ),
    cuts=st.lists(st.integers(0, 5000), max_size=20),
)
@settings(deadline=None)
def test_records_and_their_places_survive_any_cut(records: list[dict[str, Any]], cuts: list[int]) -> None:
    """In any pieces the same records come, and each is where its place says."""
    body = pack(*records) + b" " + pack(*records)
    reader = RecordReader()
    found = []
    for part in pieces(body, cuts):
        for item in reader.feed(part):
            assert isinstance(item, Records)
            found += [
                (json.loads(body[place.offset :][: place.size]), record.n, record.u)
                for record, place in zip(item.records, item.places(), strict=True)
            ]
    assert [raw for raw, _, _ in found] == records * 2
    assert [(n, u) for _, n, u in found] == [(raw.get("n"), raw.get("u")) for raw, _, _ in found]
    assert (reader.packs, reader.pending, reader.between_packs, reader.lost) == (2, b"", True, None)


BASES = st.fixed_dictionaries(
    {},
    optional={
        "bn": st.sampled_from(["a/", "b:", ""]),
        "bt": st.sampled_from([0, 5, 1.6e9]),
        "bu": st.just("K"),
    },
)
RECORDS = st.builds(
    dict.__or__,
    BASES,
    st.fixed_dictionaries(
        {"n": st.sampled_from(["x", "y"]), "v": st.floats(-1e6, 1e6)},
        optional={"t": st.integers(-100, 100), "u": st.just("Cel")},
    ),
)


@given(records=st.lists(RECORDS, max_size=20), cuts=st.lists(st.integers(0, 5000), max_size=10))
@settings(deadline=None)
def test_records_are_resolved_as_a_plain_reading_of_the_rfc_does(
    records: list[dict[str, Any]], cuts: list[int]
) -> None:
    """A few lines that read the whole pack at once are the model."""
    expected = []
    base: dict[str, Any] = {"bn": "", "bt": 0.0, "bu": ""}
    for record in records:
        base |= {label: value for label, value in record.items() if label in base}
        seconds = base["bt"] + record.get("t", 0)
        time = round(seconds * 10**6) * 1000 + (NOW if seconds < 2**28 else 0)
        expected.append((base["bn"] + record["n"], record.get("u", base["bu"]), time, record["v"]))
    reader, resolver = RecordReader(), Resolver()
    found: list[Resolution] = []
    for part in pieces(pack(*records), cuts):
        for item in reader.feed(part):
            assert isinstance(item, Records)
            got = resolver.resolve(item, NOW)
            for index, time, value in zip(
                got.quantity.tolist(), got.time_unix_ns.tolist(), got.value.tolist(), strict=True
            ):
                quantity = resolver.quantities[index]
                found.append((quantity.name, quantity.unit, time, value))
    assert found == expected


def test_what_a_body_may_name_is_bounded() -> None:
    """Names and units have a length, and their number a limit; what is over is refused and counted."""
    records = [{"n": f"m{nth}", "v": 1} for nth in range(MAX_QUANTITIES)]
    over: list[dict[str, Any]] = [
        {"n": "one more", "v": 1},
        {"n": "x" * (MAX_NAME + 1), "v": 1},
        {"v": 1},
        {"n": "m1", "u": "u" * 33, "v": 1},
    ]
    rows, others, _ = resolve(pack(*records, *over, {"n": "m7", "v": 2}))
    assert len(rows) == MAX_QUANTITIES + 1
    assert others == {
        f"more than {MAX_QUANTITIES} names": 1,
        f"a name that is empty or above {MAX_NAME} characters": 2,
        "a unit above 32 characters": 1,
    }


def test_sums_beyond_a_double_are_infinite() -> None:
    """They are not hidden: the session quarantines what is not finite."""
    assert math.isinf(resolve(pack({"n": "a", "bv": 1.7e308, "v": 1.7e308}))[0][0][3])


@pytest.mark.parametrize(
    ("senml", "declared", "expected"),
    [
        ("Cel", "Cel", Factor(1, 1)),
        ("Cel", "K", None),
        ("K", "Cel", None),
        ("Pa", "kPa", Factor(1, 1000)),
        ("Pa", "bar", Factor(1, 10**5)),
        ("hPa", "mbar", Factor(1, 1)),
        ("hPa", "kPa", Factor(1, 10)),
        ("%RH", "%", Factor(1, 1)),
        ("/", "%", Factor(100, 1)),
        ("%", "1", Factor(1, 100)),
        ("", "1", Factor(1, 1)),
        ("", "Cel", None),
        ("count", "{parts}", Factor(1, 1)),
        ("m/s", "mm/s", Factor(1000, 1)),
        ("1/min", "/min", Factor(1, 1)),
        ("l", "L", Factor(1, 1)),
        ("kWh", "kW.h", Factor(1, 1)),
        ("kWh", "J", Factor(3_600_000, 1)),
        ("ms", "s", Factor(1, 1000)),
        ("h", "min", Factor(60, 1)),
        ("km/h", "m/s", None),
        ("m3", "km3", None),
        ("m", "min", None),
        ("B", "By", Factor(1, 1)),
        ("B", "B", None),
        ("furlong", "furlong", Factor(1, 1)),
        ("Pa", "", None),
    ],
)
def test_units(senml: str, declared: str, expected: Factor | None) -> None:
    """A unit is the declared one, or goes into it by one multiplication or division; nothing else matches."""
    assert factor(senml, declared) == expected
