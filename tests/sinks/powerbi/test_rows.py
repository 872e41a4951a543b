"""Window rows as Power BI takes them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.sinks.powerbi.rows import COLUMNS, definition, encode, too_long
from ext_proc.sinks.tables import public_rows
from tests.sinks.powerbi.support import START_NS, chunk
from tests.support.powerbi_limits import MAX_COLUMNS

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str, found: object) -> None:
    """Compare with a golden file."""
    assert json.loads((GOLDEN / name).read_text()) == found


def test_rows_are_the_public_columns_in_json() -> None:
    """Names are the public table's; times are milliseconds of UTC, cut; a missing deviation is null."""
    chunks = [
        chunk([{}, {"sensor": "press-2", "count": 1, "stddev": None, "revision": 2}], shard=3, seq=41),
        chunk([{"start": -1, "metric": "relative_humidity", "unit": "%"}], shard=3, seq=42, generation=2),
    ]
    body = encode(public_rows(chunks))
    golden("rows.json", json.loads(body))
    assert b" " not in body  # bodies are as small as JSON allows


def test_the_definition_of_the_model() -> None:
    """What creates the model names every column with a type of the push API, and stays within its limit."""
    golden("dataset.json", definition("gaugeway", "windows"))
    assert len(COLUMNS) <= MAX_COLUMNS


@settings(deadline=None)
@given(st.floats(), st.floats(allow_nan=False), st.integers(-(2**62), 2**62))
def test_every_row_is_json(value: float, other: float, start_ns: int) -> None:
    """Whatever the numbers are: JSON without NaN and infinities, finite ones unchanged."""
    body = encode(public_rows([chunk([{"sum": value, "mean": other, "start": start_ns}])]))

    def no_such(constant: str) -> float:
        raise AssertionError(constant)

    (row,) = json.loads(body, parse_constant=no_such)["rows"]
    assert row.keys() == COLUMNS.keys()
    finite = math.isfinite(value)
    assert row["sum"] == (value if finite else None)
    assert math.isinf(other) or row["mean"] == other


@pytest.mark.parametrize(("length", "refused"), [(4_000, False), (4_001, True)])
def test_texts_that_are_too_long(length: int, refused: bool) -> None:
    """A text of more than 4,000 characters marks its row, and no other."""
    rows = public_rows([chunk([{}, {"site": "x" * length}, {"start": START_NS + 1}])])
    assert too_long(rows).tolist() == [False, refused, False]
