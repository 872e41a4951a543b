"""Rows of the journal."""

from __future__ import annotations

import pyarrow as pa
import pytest

from wire.journal import (
    READINGS_SCHEMA,
    SCHEMA_VERSION,
    WINDOWS_SCHEMA,
    JournalFormatError,
    check_schema,
    decode_rows,
    encode_rows,
)


def one_reading() -> pa.RecordBatch:
    """Return a batch of one reading."""
    row = {
        "sensor": "press-1",
        "site": "hall-3",
        "epoch": 2**64 - 1,
        "seq": 1,
        "metric": "temperature",
        "unit": "Cel",
        "time": 1_700_000_000_000_000_001,
        "value": 20.5,
        "quality": 0,
        "verdict": 0,
    }
    return pa.RecordBatch.from_pylist([row], schema=READINGS_SCHEMA)


def test_rows_round_trip_exactly() -> None:
    """Rows read back as written: nanoseconds and 64-bit epochs included."""
    batch = one_reading()
    assert decode_rows(encode_rows(batch), READINGS_SCHEMA).equals(batch)


def test_columns_added_at_the_end_are_ignored() -> None:
    """A newer writer may add columns; an older reader takes those it knows."""
    newer = one_reading().append_column("added", pa.array(["x"]))
    assert decode_rows(encode_rows(newer), READINGS_SCHEMA).equals(one_reading())


def test_other_columns_are_refused() -> None:
    """Rows of another kind are not taken for these."""
    with pytest.raises(JournalFormatError, match="columns"):
        decode_rows(encode_rows(one_reading()), WINDOWS_SCHEMA)


@pytest.mark.parametrize("damage", [b"", b"garbage", encode_rows(one_reading())[:200]])
def test_damage_is_an_error(damage: bytes) -> None:
    """Damaged rows raise a typed error."""
    with pytest.raises(JournalFormatError):
        decode_rows(damage, READINGS_SCHEMA)


def test_a_newer_schema_is_refused() -> None:
    """A record of a higher schema version is refused, not guessed at."""
    check_schema(SCHEMA_VERSION)
    with pytest.raises(JournalFormatError, match="upgrade"):
        check_schema(SCHEMA_VERSION + 1)
