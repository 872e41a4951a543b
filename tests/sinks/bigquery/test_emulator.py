"""The sink against a real BigQuery emulator."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from google.cloud import bigquery

from ext_proc.sinks.bigquery.schema import columns
from ext_proc.sinks.bigquery.target import BigQuerySink
from ext_proc.sinks.errors import RetryableSinkError, TerminalSinkError
from ext_proc.sinks.model import Target
from ext_proc.sinks.tables import json_rows, public_rows
from tests.sinks.bigquery.chunks import START_NS, readings_chunk, windows_chunk
from tests.support.bigquery import BigQueryEmulator


@asynccontextmanager
async def started(sink: BigQuerySink) -> AsyncIterator[BigQuerySink]:
    """A started sink, closed afterwards."""
    await sink.start()
    try:
        yield sink
    finally:
        await sink.close()


async def test_readings_arrive_as_they_are(bigquery_emulator: BigQueryEmulator) -> None:
    """Every column of every reading is in the table; time keeps its nanoseconds beside it; NaN is NaN."""
    chunks = [
        readings_chunk(5, [20.5, math.nan, -0.0]),
        readings_chunk(6, [1e300, 2.0], first=4),
    ]
    sink: Target = BigQuerySink(bigquery_emulator.target())
    await sink.start()
    delivered = await sink.deliver(chunks)
    await sink.close()
    assert (delivered.rows, delivered.dead) == (5, ())

    wanted = json_rows(public_rows(chunks))
    names = [name for name in wanted[0] if name != "time"]
    found = bigquery_emulator.query(
        f"SELECT {', '.join(names)}, UNIX_MICROS(time), time_unix_ns FROM readings ORDER BY seq"
    )
    assert len(found) == len(wanted)
    for got, want in zip(found, wanted, strict=True):
        row = dict(zip(names, got[:-2], strict=True))
        value, wanted_value = row.pop("value"), want["value"]
        assert value == wanted_value or (math.isnan(value) and math.isnan(wanted_value))
        assert row == {name: want[name] for name in names if name != "value"}
        assert got[-2:] == (want["time"] // 1000, want["time"])

    readings = bigquery_emulator.readings("press-1")
    assert {reading.time_unix_ns for reading in readings} == {row["time"] for row in wanted}
    assert {(reading.epoch, reading.seq) for reading in readings} == {
        ("0123456789abcdef", seq) for seq in range(1, 6)
    }


async def test_windows_of_the_chosen_sizes_with_nulls(bigquery_emulator: BigQueryEmulator) -> None:
    """Other sizes are left out and not counted; a window of one reading has no standard deviation."""
    chunk = windows_chunk(1)
    async with started(BigQuerySink(bigquery_emulator.target(window_sizes_ms=(60_000,)))) as sink:
        assert (await sink.deliver([chunk])).rows == 4
    wanted = [row for row in json_rows(public_rows([chunk])) if row["size_ms"] == 60_000]
    names = [
        name for name in wanted[0] if name not in {"window_start", "window_end", "first_time", "last_time"}
    ]
    found = bigquery_emulator.query(
        f"SELECT {', '.join(f'`{name}`' for name in names)}, UNIX_MICROS(window_end) FROM windows"
        " ORDER BY window_start"
    )
    assert [dict(zip(names, row[:-1], strict=True)) for row in found] == [
        {name: row[name] for name in names} for row in wanted
    ]
    assert [row[-1] for row in found] == [row["window_end"] // 1000 for row in wanted]
    assert [row["stddev"] for row in wanted] == [None, 1.0, None, 1.0]


async def test_the_view_has_the_newest_revision(bigquery_emulator: BigQueryEmulator) -> None:
    """Of two revisions the higher, and of two generations the newer whatever its revision."""
    async with started(BigQuerySink(bigquery_emulator.target())) as sink:
        await sink.deliver([windows_chunk(1, revision=1), windows_chunk(2, revision=2)])
        found = bigquery_emulator.windows(["press-0"], START_NS * 2)
        assert len(found) == 8
        assert {row["max"] for row in found.values()} == {5.0}
        await sink.deliver([windows_chunk(1, revision=1, generation=2)])
        found = bigquery_emulator.windows(["press-0"], START_NS * 2)
        assert {row["max"] for row in found.values()} == {4.0}


async def test_large_batches_and_many_shards_side_by_side(bigquery_emulator: BigQueryEmulator) -> None:
    """A batch of several requests, and deliveries of other shards at the same time: each row once."""
    batches = [
        [readings_chunk(1, [float(index) for index in range(7_000)], shard=shard, first=1 + shard * 10_000)]
        for shard in range(3)
    ]
    async with started(BigQuerySink(bigquery_emulator.target())) as sink:
        delivered = await asyncio.gather(*(sink.deliver(batch) for batch in batches))
    assert [done.rows for done in delivered] == [7_000] * 3
    found = bigquery_emulator.query(
        "SELECT shard, COUNT(*), COUNT(DISTINCT seq) FROM readings GROUP BY shard"
    )
    assert sorted(found) == [(shard, 7_000, 7_000) for shard in range(3)]


async def test_a_repeated_delivery_writes_nothing_twice(bigquery_emulator: BigQueryEmulator) -> None:
    """Records that were handed over already add no rows within a process's life."""
    async with started(BigQuerySink(bigquery_emulator.target())) as sink:
        assert (await sink.deliver([readings_chunk(3, [1.0])])).rows == 1
        assert (await sink.deliver([readings_chunk(3, [1.0])])).rows == 0
        again = [readings_chunk(3, [1.0]), readings_chunk(4, [2.0], first=2)]
        assert (await sink.deliver(again)).rows == 1
    assert len(bigquery_emulator.readings("press-1")) == 2


async def test_tables_are_described(bigquery_emulator: BigQueryEmulator) -> None:
    """Partitioned by day of event time, clustered, columns described; only what was asked for is made."""
    async with started(BigQuerySink(bigquery_emulator.target(readings=False))):
        pass
    client = bigquery_emulator.client
    table = client.get_table(f"{bigquery_emulator.project}.{bigquery_emulator.dataset}.windows")
    assert table.time_partitioning.field == "window_start"
    assert table.clustering_fields == ["site", "sensor_id", "metric"]
    assert [field.name for field in table.schema] == [column.name for column in columns("windows")]
    assert all(field.description for field in table.schema)
    tables = client.list_tables(f"{bigquery_emulator.project}.{bigquery_emulator.dataset}")
    assert {item.table_id for item in tables} == {"windows", "windows_latest"}


async def test_missing_columns_are_added(bigquery_emulator: BigQueryEmulator) -> None:
    """A table of an older version gets the columns it lacks; columns of its owner stay."""
    if not bigquery_emulator.strict:
        pytest.skip("bqemulator adds columns to its catalogue only")
    name = f"{bigquery_emulator.project}.{bigquery_emulator.dataset}.readings"
    old = [
        bigquery.SchemaField(column.name, column.type)
        for column in columns("readings")
        if column.name not in {"verdict", "time_unix_ns"}
    ]
    bigquery_emulator.client.create_table(
        bigquery.Table(name, schema=[*old, bigquery.SchemaField("note", "STRING")])
    )
    async with started(BigQuerySink(bigquery_emulator.target())) as sink:
        await sink.deliver([readings_chunk(1, [1.0])])
    assert bigquery_emulator.query("SELECT verdict, note FROM readings") == [("OK", None)]


async def test_a_column_of_another_type_stops_the_sink(bigquery_emulator: BigQueryEmulator) -> None:
    """The table is not touched; the error names the column and both types."""
    name = f"{bigquery_emulator.project}.{bigquery_emulator.dataset}.readings"
    bigquery_emulator.client.create_table(
        bigquery.Table(name, schema=[bigquery.SchemaField("seq", "STRING")])
    )
    sink = BigQuerySink(bigquery_emulator.target())
    with pytest.raises(TerminalSinkError, match="column seq is STRING, and the rows have INT64"):
        await sink.start()
    await sink.close()


async def test_a_dataset_that_does_not_exist_stops_the_sink(bigquery_emulator: BigQueryEmulator) -> None:
    """The error names it; nothing is made."""
    if not bigquery_emulator.strict:
        pytest.skip("bqemulator answers 500")
    config = bigquery_emulator.target().model_copy(update={"dataset": "nowhere"})
    sink = BigQuerySink(config)
    with pytest.raises(TerminalSinkError, match="nowhere"):
        await sink.start()
    await sink.close()


async def test_a_service_that_is_away_is_tried_again(bigquery_emulator: BigQueryEmulator) -> None:
    """Nothing listens: retryable, and the sink can be started later."""
    update = {"rest_endpoint": "http://127.0.0.1:9", "grpc_endpoint": "127.0.0.1:9"}
    sink = BigQuerySink(bigquery_emulator.target().model_copy(update=update), rest_timeout_s=0.2)
    with pytest.raises(RetryableSinkError, match="gives no answer"):
        await sink.start()
    await sink.close()


async def test_a_poison_row_is_dead_and_the_rest_arrives(bigquery_emulator: BigQueryEmulator) -> None:
    """A row that the service refuses comes back with the service's reason; the others are in the table."""
    if not bigquery_emulator.strict:
        pytest.skip("bqemulator takes nulls everywhere")
    name = f"{bigquery_emulator.project}.{bigquery_emulator.dataset}.windows"
    fields = [
        bigquery.SchemaField(column.name, column.type, "REQUIRED" if column.name == "stddev" else "NULLABLE")
        for column in columns("windows")
    ]
    bigquery_emulator.client.create_table(bigquery.Table(name, schema=fields))
    async with started(BigQuerySink(bigquery_emulator.target(window_sizes_ms=(60_000,)))) as sink:
        first = await sink.deliver([windows_chunk(1)])
        second = await sink.deliver([windows_chunk(2, revision=2)])
    for delivered in (first, second):
        assert delivered.rows == 2
        assert [row.row["stddev"] for row in delivered.dead] == [None, None]
        assert {row.reason for row in delivered.dead} == {"Missing required field: stddev."}
    assert bigquery_emulator.query("SELECT COUNT(*), COUNT(DISTINCT row_key) FROM windows") == [(4, 4)]
