"""The public tables: golden columns and rows."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa

from ext_proc.journal.batch import rows_of
from ext_proc.session.model import Readings
from ext_proc.sinks.model import Chunk
from ext_proc.sinks.tables import READINGS_TABLE, WINDOWS_TABLE, json_rows, public_rows
from tests.sinks.support import START, readings_chunk, windows_chunk

READINGS_COLUMNS = {
    "sensor_id": "string",
    "site": "string",
    "metric": "string",
    "unit": "string",
    "epoch": "string",
    "seq": "int64",
    "time": "timestamp[ns, tz=UTC]",
    "value": "double",
    "quality": "string",
    "verdict": "string",
    "shard": "int64",
    "generation": "int64",
    "journal_seq": "int64",
}
WINDOWS_COLUMNS = {
    "sensor_id": "string",
    "site": "string",
    "metric": "string",
    "unit": "string",
    "size_ms": "int64",
    "window_start": "timestamp[ns, tz=UTC]",
    "window_end": "timestamp[ns, tz=UTC]",
    "revision": "int64",
    "count": "int64",
    "min": "double",
    "max": "double",
    "sum": "double",
    "mean": "double",
    "stddev": "double",
    "first": "double",
    "first_time": "timestamp[ns, tz=UTC]",
    "last": "double",
    "last_time": "timestamp[ns, tz=UTC]",
    "p50": "double",
    "p95": "double",
    "p99": "double",
    "shard": "int64",
    "generation": "int64",
    "journal_seq": "int64",
    "row_key": "string",
}


def columns_of(schema: pa.Schema) -> dict[str, str]:
    """Return names and types as text."""
    return {field.name: str(field.type) for field in schema}


def test_the_columns_are_a_promise() -> None:
    """Users' queries name these columns: adding one at the end is the only change that breaks nobody."""
    assert columns_of(READINGS_TABLE) == READINGS_COLUMNS
    assert columns_of(WINDOWS_TABLE) == WINDOWS_COLUMNS


def test_a_reading_with_all_that_can_be_odd() -> None:
    """Hexadecimal epochs, nanoseconds, names of verdict and quality, NaN, an unknown quality."""
    run = Readings(
        sensor_id="press-1",
        site="hall-3",
        epoch=0xFFFF_0000_0000_0001,
        first_seq=1 << 40,
        series=(("temperature", "Cel"), ("pressure", "kPa")),
        series_index=np.array([0, 1, 1], np.uint32),
        time_unix_ns=np.array([START + 1, START + 2, START + 3]),
        value=np.array([20.5, float("nan"), 3.0]),
        quality=np.array([0, 2, 9], np.uint8),
        verdict=np.array([0, 1, 2], np.uint8),
    )
    rows = public_rows([Chunk("readings", 3, 2, 41, START, rows_of([run]))])
    rows.validate(full=True)
    assert rows.schema.equals(READINGS_TABLE)
    first, second, third = json_rows(rows)
    assert first == {
        "sensor_id": "press-1",
        "site": "hall-3",
        "metric": "temperature",
        "unit": "Cel",
        "epoch": "ffff000000000001",
        "seq": 1 << 40,
        "time": START + 1,
        "value": 20.5,
        "quality": "GOOD",
        "verdict": "OK",
        "shard": 3,
        "generation": 2,
        "journal_seq": 41,
    }
    assert (second["metric"], second["unit"], second["seq"]) == ("pressure", "kPa", (1 << 40) + 1)
    assert (second["quality"], second["verdict"]) == ("BAD", "NOT_FINITE")
    assert np.isnan(second["value"])
    assert (third["quality"], third["verdict"]) == ("UNKNOWN_9", "FUTURE")


def test_a_window_and_its_key() -> None:
    """The end, a null deviation below two readings, a key that names generation and revision."""
    rows = public_rows([windows_chunk(9, ("a", 2, 1), ("b", 2, 3), generation=4, count=1)])
    rows.validate(full=True)
    assert rows.schema.equals(WINDOWS_TABLE)
    first, second = json_rows(rows)
    start = START + 20 * 10**9
    assert (first["window_start"], first["window_end"]) == (start, start + 10 * 10**9)
    assert first["stddev"] is None
    assert first["row_key"] == f"a/temperature/Cel/10000/{start}/4/1"
    assert second["row_key"] == f"b/temperature/Cel/10000/{start}/4/3"
    assert (first["generation"], first["journal_seq"], first["count"]) == (4, 9, 1)
    assert (first["first_time"], first["last_time"]) == (start + 1, start + 2)


def test_chunks_stay_in_order() -> None:
    """Several records become one table, in order, each row with its own record's sequence."""
    rows = public_rows([readings_chunk(5, ("a", 1, 2)), readings_chunk(8, ("b", 1, 1), ("a", 3, 1))])
    found = [(row["sensor_id"], row["seq"], row["journal_seq"]) for row in rows.to_pylist()]
    assert found == [("a", 1, 5), ("a", 2, 5), ("b", 1, 8), ("a", 3, 8)]


def test_rows_for_json_are_json() -> None:
    """Dead letters carry rows as JSON: times that Arrow would refuse to convert are integers."""
    assert json.loads(json.dumps(json_rows(public_rows([windows_chunk(1, ("a", 0, 1))]))))
