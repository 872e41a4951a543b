"""Identifiers and their rules."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import ids


@pytest.mark.parametrize("value", ["a", "press-4", "0", "a" * 63, "4711"])
def test_dns_label_accepts(value: str) -> None:
    """Labels within RFC 1123's rule pass unchanged."""
    assert ids.check_dns_label("id", value) == value


@pytest.mark.parametrize("value", ["", "-a", "a-", "A", "a_b", "a.b", "a" * 64, "ä", "a\n", " a"])
def test_dns_label_refuses_and_names_the_field(value: str) -> None:
    """Anything else is refused with the field's name and the rule."""
    with pytest.raises(ids.InvalidIdError, match=r"site .* DNS label") as caught:
        ids.check_dns_label("site", value)
    assert (caught.value.field, caught.value.value) == ("site", value)


@pytest.mark.parametrize("value", ["", "1a", "Temp", "a-b", "a" * 64, "a\n"])
def test_metric_refuses(value: str) -> None:
    """A metric is lower snake case."""
    with pytest.raises(ids.InvalidIdError, match="metric"):
        ids.check_metric(value)


@pytest.mark.parametrize("value", ["Cel", "%", "kPa", "[degF]", "m/s2", "By/s"])
def test_unit_accepts(value: str) -> None:
    """UCUM codes are printable ASCII without spaces."""
    assert ids.check_unit(value) == value


@pytest.mark.parametrize("value", ["", "deg C", "°C", "x" * 33, "Cel\n"])
def test_unit_refuses(value: str) -> None:
    """Spaces, other alphabets and absurd lengths are refused."""
    with pytest.raises(ids.InvalidIdError, match="UCUM"):
        ids.check_unit(value)


@given(epoch=st.integers(1, 2**64 - 1), seq=st.integers(0, 10**18))
def test_after_round_trips(epoch: int, seq: int) -> None:
    """A cursor's text form reads back as itself."""
    assert ids.parse_after(ids.format_after(epoch, seq)) == (epoch, seq)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1:2",
        "00000000000000ff",
        "00000000000000ff:",
        "00000000000000ff:-1",
        "00000000000000FF:1",
        "00000000000000ff:٣",
    ],
)
def test_after_refuses(text: str) -> None:
    """A cursor of any other form is refused."""
    with pytest.raises(ids.InvalidIdError, match="after"):
        ids.parse_after(text)


def test_shard_is_stable_and_even() -> None:
    """The hash never changes between versions, and spreads ids evenly."""
    assert [ids.shard_of(name, 64) for name in ("press-1", "boiler-a", "x")] == [25, 57, 4]
    spread = Counter(ids.shard_of(f"sensor-{i}", 8) for i in range(8000))
    assert set(spread) == set(range(8))
    assert max(spread.values()) < 1.15 * 1000


def test_new_epochs_differ() -> None:
    """Epochs are random and never zero, which means 'not known'."""
    epochs = {ids.new_epoch() for _ in range(100)}
    assert len(epochs) == 100
    assert 0 not in epochs
