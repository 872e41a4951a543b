"""The oracle itself can fail."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.oracle import Reading, WindowKey, differences, windows_of

READINGS = [
    Reading("s", "e", seq, "temperature", "Cel", 1_000_000_000 * seq, float(value))
    for seq, value in enumerate([5, 3, 4], start=1)
]
RIGHT: dict[str, Any] = {
    "count": 3,
    "min": 3.0,
    "max": 5.0,
    "first": 5.0,
    "last": 4.0,
    "sum": 12.0,
    "mean": 4.0,
    "stddev": 1.0,
    "p50": 4.02,
    "p95": 4.96,
    "p99": 5.0,
}
KEY: WindowKey = ("s", "temperature", "Cel", 10_000, 0)


def test_agreement_is_no_difference() -> None:
    """Right rows give no complaint; a window that has not ended is not expected."""
    expected = windows_of(READINGS, 10_000, 10_000_000_000)
    assert differences(expected, {KEY: RIGHT}) == []
    assert windows_of(READINGS, 10_000, 9_999_999_999) == {}


@pytest.mark.parametrize("column", sorted(RIGHT))
def test_every_column_is_compared(column: str) -> None:
    """A wrong value in any column is reported by its name."""
    expected = windows_of(READINGS, 10_000, 10_000_000_000)
    [problem] = differences(expected, {KEY: RIGHT | {column: RIGHT[column] + 0.5}})
    assert f" {column} is " in problem


def test_missing_and_superfluous_windows_are_reported() -> None:
    """Rows that lack, and rows too many, are both wrong."""
    expected = windows_of(READINGS, 10_000, 10_000_000_000)
    assert len(differences(expected, {})) == 1
    assert len(differences({}, {KEY: RIGHT})) == 1
