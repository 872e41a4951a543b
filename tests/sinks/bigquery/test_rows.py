"""Rows and tables as BigQuery takes them; no service needed."""

from __future__ import annotations

from typing import get_args

import pyarrow as pa
import pytest
from pydantic import ValidationError

from ext_proc.sinks.bigquery.config import BigQueryTarget
from ext_proc.sinks.bigquery.rows import arrow_schema, chosen_rows, parts, serialize
from ext_proc.sinks.bigquery.schema import (
    CLUSTER_BY,
    PARTITION_BY,
    TABLE_DESCRIPTIONS,
    columns,
    missing,
    windows_latest_sql,
    wrong,
)
from ext_proc.sinks.model import KINDS, Kind
from ext_proc.sinks.tables import TABLES
from tests.sinks.bigquery.chunks import readings_chunk, windows_chunk


def test_the_columns_are_the_public_ones() -> None:
    """Both tables have the public columns in their order; readings have their nanoseconds beside `time`."""
    assert [column.name for column in columns("windows")] == TABLES["windows"].names
    assert [column.name for column in columns("readings")] == [*TABLES["readings"].names, "time_unix_ns"]
    assert set(KINDS) == set(get_args(Kind)) == set(TABLE_DESCRIPTIONS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_column_is_described_and_typed(kind: Kind) -> None:
    """Only what is null for a reason is nullable; partition and cluster columns exist."""
    found = {column.name: column for column in columns(kind)}
    assert all(column.description for column in found.values())
    assert {name for name, column in found.items() if not column.required} == (
        {"stddev"} if kind == "windows" else set()
    )
    assert found[PARTITION_BY[kind]].type == "TIMESTAMP"
    assert set(CLUSTER_BY) <= found.keys()


def test_times_are_cut_to_microseconds() -> None:
    """The nanoseconds of a reading are in time_unix_ns; rounding never moves a time into the next window."""
    rows = chosen_rows([readings_chunk(1, [1.0] * 200)], ())
    batch = pa.ipc.read_record_batch(pa.py_buffer(serialize("readings", rows)), arrow_schema("readings"))
    exact = rows.column("time").cast(pa.int64()).to_pylist()
    assert batch.column("time_unix_ns").to_pylist() == exact
    assert batch.column("time").cast(pa.int64()).to_pylist() == [time // 1000 for time in exact]
    assert any(time % 1000 > 500 for time in exact)


def test_windows_of_other_sizes_are_left_out() -> None:
    """Nothing is left when no size is chosen."""
    chunks = [windows_chunk(1), windows_chunk(2, revision=2)]
    assert set(chosen_rows(chunks, (60_000,)).column("size_ms").to_pylist()) == {60_000}
    assert chosen_rows(chunks, (1_000,)).num_rows == 0
    assert list(parts(chosen_rows(chunks, (1_000,)))) == []


@pytest.mark.parametrize("limit", [1, 1_000, 10_000, 10_000_000])
def test_parts_are_all_of_it_in_order(limit: int) -> None:
    """No row is lost at a cut, however small the requests."""
    rows = chosen_rows([readings_chunk(1, [float(value) for value in range(500)])], ())
    cut = list(parts(rows, limit))
    assert pa.concat_tables(cut).equals(rows)
    assert all(part.num_rows for part in cut)


def test_a_part_is_sent_without_the_rest() -> None:
    """A slice of a large table is serialised alone."""
    rows = chosen_rows([readings_chunk(1, [1.0] * 10_000)], ())
    one = next(parts(rows, 1))
    assert one.num_rows == 1
    assert len(serialize("readings", one)) < 2_000


def test_added_columns_are_nullable() -> None:
    """BigQuery adds no required column to a table with rows; names have no case."""
    have = [column.name.upper() for column in columns("windows") if column.name not in {"p99", "row_key"}]
    added = missing("windows", have)
    assert [(column.name, column.required) for column in added] == [("p99", False), ("row_key", False)]
    assert missing("windows", [*have, "p99", "row_key", "note"]) == ()


def test_types_go_by_either_name() -> None:
    """The REST API says INTEGER and FLOAT for INT64 and FLOAT64; other differences are wrong."""
    assert wrong("readings", {"seq": "INTEGER", "value": "FLOAT", "time": "TIMESTAMP", "note": "JSON"}) == ()
    assert [column.name for column in wrong("readings", {"Time": "DATETIME", "value": "NUMERIC"})] == [
        "time",
        "value",
    ]


def test_the_view_takes_the_newest_row_of_a_window() -> None:
    """By generation, then revision; `window_start` is in the partition, so that filters reach the table."""
    sql = windows_latest_sql("p-1", "d_1")
    assert "FROM `p-1.d_1.windows`" in sql
    assert "PARTITION BY `sensor_id`, `metric`, `unit`, `size_ms`, `window_start`" in sql
    assert "ORDER BY `generation` DESC, `revision` DESC" in sql


@pytest.mark.parametrize(
    "wrong_settings",
    [
        {"dataset": "with-dash"},
        {"project": "p`; DROP"},
        {"rest_endpoint": "http://127.0.0.1:1"},
        {"grpc_endpoint": "127.0.0.1:1"},
        {"window_sizes_ms": (0,)},
        {"window_sizes_ms": ()},
        {"table": "x"},
    ],
    ids=str,
)
def test_bad_configurations_are_refused(wrong_settings: dict[str, object]) -> None:
    """Names that reach SQL are checked; an emulator needs both endpoints; something must be delivered."""
    with pytest.raises(ValidationError):
        BigQueryTarget.model_validate({"project": "p", "dataset": "d", **wrong_settings})


def test_defaults_do_not_ruin_anyone() -> None:
    """Without a word about it: windows of a minute, no single readings."""
    config = BigQueryTarget(project="p", dataset="d")
    assert (config.readings, config.window_sizes_ms) == (False, (60_000,))
