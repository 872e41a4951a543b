"""The pure parts: times, entity tags, names of fields, patterns of the document."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.api.conditional import entity_tag, names_revision, names_tag
from control_plane.api.models import LABEL_PATTERN, METRIC_PATTERN, UNIT_PATTERN
from control_plane.api.times import LAST_NS, moment_ns, size_ms
from control_plane.api.validation import field_name
from wire.ids import InvalidIdError, check_dns_label, check_metric, check_unit

NOW = 1_769_860_800_000_000_000  # 2026-01-31T12:00:00Z


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31T12:00:00Z", NOW),
        ("2026-01-31t12:00:00z", NOW),
        ("2026-01-31 13:30:00+01:30", NOW),
        ("2026-01-31T12:00:00.000000001Z", NOW + 1),
        ("2026-01-31T12:00:00.5Z", NOW + 500_000_000),
        ("10m", NOW - 600_000_000_000),
        ("250ms", NOW - 250_000_000),
        ("999999999d", 0),
        ("1969-12-31T23:59:59Z", 0),
        ("0001-01-01T00:00:00+23:59", 0),
        ("9999-12-31T23:59:59Z", LAST_NS),
    ],
)
def test_moments(text: str, expected: int) -> None:
    """RFC 3339 to the nanosecond, or how long ago, held within what 64 bits say."""
    assert moment_ns(text, NOW) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "0m",
        "-5m",
        "5",
        "1.5h",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-13-01T00:00:00Z",
        "1\u0662m",
    ],
)
def test_what_is_no_moment(text: str) -> None:
    """A time without an offset is no moment, nor is a date, nor a digit of another script."""
    with pytest.raises(ValueError, match="RFC 3339"):
        moment_ns(text, NOW)


@given(st.datetimes(timezones=st.just(UTC)).filter(lambda when: 1970 <= when.year < 2262))
def test_every_time_is_read_back(when: datetime) -> None:
    """What Python writes as RFC 3339 is read to the microsecond."""
    expected = int(when.replace(microsecond=0).timestamp()) * 1_000_000_000 + when.microsecond * 1000
    assert moment_ns(when.isoformat(), NOW) == expected


def test_sizes() -> None:
    """A size is a duration of at most a day."""
    assert [size_ms(text) for text in ("10s", "60s", "1m", "500ms", "24h")] == [
        10_000,
        60_000,
        60_000,
        500,
        86_400_000,
    ]
    for text in ("10", "0s", "25h", "10S"):
        with pytest.raises(ValueError, match="duration"):
            size_ms(text)


def test_entity_tags() -> None:
    """Any byte of the body changes the tag; If-Match compares revisions, strongly."""
    tag = entity_tag(7, b"a")
    assert tag != entity_tag(7, b"b")
    assert names_tag(f'"x",W/{tag}', tag)
    assert not names_tag('"7"', tag)
    assert all(names_revision(condition, 7) for condition in (tag, '"7"', '"7-x"', f'"1", {tag}', "*"))
    assert not any(names_revision(condition, 7) for condition in ("7", '"70"', f"W/{tag}", ""))


def test_names_of_fields() -> None:
    """As people write them, without what only pydantic knows."""
    assert field_name(("metrics", 0, "name")) == "metrics[0].name"
    assert field_name(("source", "replay", "speed"), ("replay",)) == "source.speed"
    assert field_name(()) == "body"


_LABELS = st.one_of(st.text(max_size=70), st.from_regex(LABEL_PATTERN), st.text("ab-9", max_size=66))


@given(_LABELS)
def test_the_document_has_the_rule_of_labels(text: str) -> None:
    """The pattern in the OpenAPI document allows exactly what wire.ids does."""
    assert _passes(LABEL_PATTERN, text) == _is_valid(check_dns_label, "id", text)


@given(st.one_of(st.text(max_size=70), st.from_regex(METRIC_PATTERN)))
def test_the_document_has_the_rule_of_metrics(text: str) -> None:
    """The pattern in the OpenAPI document allows exactly what wire.ids does."""
    assert _passes(METRIC_PATTERN, text) == _is_valid(check_metric, text)


@given(st.one_of(st.text(max_size=40), st.from_regex(UNIT_PATTERN)))
def test_the_document_has_the_rule_of_units(text: str) -> None:
    """The pattern in the OpenAPI document allows exactly what wire.ids does."""
    assert _passes(UNIT_PATTERN, text) == _is_valid(check_unit, text)


def _passes(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern.removeprefix("^").removesuffix("$"), text) is not None  # as ECMA's ^ and $


def _is_valid(check: object, *arguments: str) -> bool:
    try:
        check(*arguments)  # type: ignore[operator]
    except InvalidIdError:
        return False
    return True
