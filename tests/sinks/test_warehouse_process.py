"""The warehouse as a process that is killed: what it holds is the journal, row for row."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ext_proc.journal.shard import ShardJournal
from ext_proc.sinks.config import SinkConfig
from ext_proc.sinks.warehouse.config import WarehouseTarget
from ext_proc.sinks.warehouse.files import files_of
from ext_proc.sinks.warehouse.query import connect_views
from tests.journal.support import (
    connected,
    readings_log,
    running,
    seqs_of,
    wait_for,
    window_rows,
    windows_log,
)
from tests.sinks.support import ReadingKey, expected_keys, open_journal, writing
from tests.support.nats import NatsServer

LIVES = 6


@asynccontextmanager
async def sink_process(config: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a sink in a process of its own until it is killed or the test ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gaugeway", "run", "sink", "--config", str(config)
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def config_file(tmp_path: Path, server: NatsServer) -> tuple[Path, Path]:
    """Return a sink's configuration file and its warehouse: small commits, merged often."""
    directory = tmp_path / "warehouse"
    target = WarehouseTarget(dir=directory, commit_s=0.02, compact_files=5, min_free_bytes=0)
    config = SinkConfig(name="warehouse", nats_url=server.url, shards=1, target=target)
    file = tmp_path / "sink.json"
    file.write_text(config.model_dump_json())
    return file, directory


def readings_in(directory: Path) -> list[ReadingKey]:
    """Return the keys of all readings, as often as they are there."""
    with connect_views(directory) as connection:
        sql = "SELECT sensor_id, epoch, seq FROM readings ORDER BY ALL"
        found: list[ReadingKey] = connection.execute(sql).fetchall()
        return found


def windows_in(directory: Path) -> list[tuple[int, int, int]]:
    """Return (start, revision, count) of all windows, as often as they are there."""
    with connect_views(directory) as connection:
        sql = 'SELECT epoch_ns(window_start), revision, "count" FROM windows ORDER BY ALL'
        found: list[tuple[int, int, int]] = connection.execute(sql).fetchall()
        return found


async def write_until(stop: asyncio.Event, journal: ShardJournal) -> int:
    """Append readings until told to stop; return the last sequence number."""
    last = 0
    while not stop.is_set():
        last = await writing(journal, "a", 1)
    return last


async def wait_for_rows(directory: Path, rows: int) -> None:
    """Wait until the warehouse shows so many readings."""
    await wait_for(f"{rows} readings", lambda: len(readings_in(directory)) >= rows, timeout_s=30)


async def test_a_sink_that_is_killed_again_and_again(nats_server: NatsServer, tmp_path: Path) -> None:
    """SIGKILL while it commits: all rows of the journal are there, none twice, none missing between."""
    config, directory = config_file(tmp_path, nats_server)
    async with connected(nats_server) as client:
        js = client.jetstream()
        journal = await open_journal(js)
        async with running(journal), asyncio.TaskGroup() as group:
            stop = asyncio.Event()
            writer = group.create_task(write_until(stop, journal))
            for life in range(LIVES):
                wanted = len(readings_in(directory)) + 1 + 50 * life
                async with sink_process(config) as process:
                    await wait_for_rows(directory, wanted)
                    process.send_signal(signal.SIGKILL)
                    await process.wait()
                found = readings_in(directory)
                assert found == expected_keys("a", 1, len(found))
            stop.set()
            last = await writer
            async with sink_process(config) as process:
                await wait_for_rows(directory, last)
                wanted = window_rows(await windows_log(js)).num_rows
                await wait_for("all windows", lambda: len(windows_in(directory)) >= wanted, timeout_s=30)
                process.terminate()
                assert await process.wait() == 0
        assert readings_in(directory) == expected_keys("a", 1, last)
        assert seqs_of(await readings_log(js), "a") == list(range(1, last + 1))
        rows = window_rows(await windows_log(js)).select(["start", "revision", "count"])
        columns = (rows.column(0).cast("int64"), rows.column(1), rows.column(2))
        assert windows_in(directory) == sorted(zip(*(column.to_pylist() for column in columns), strict=True))
    assert not list(directory.rglob("*.tmp"))
    assert len(files_of(directory, "readings")) < LIVES * 100


async def test_the_first_row_comes_soon(nats_server: NatsServer, tmp_path: Path) -> None:
    """From the start of the process to a row that can be queried: a few seconds, most of them Python's."""
    config, directory = config_file(tmp_path, nats_server)
    async with connected(nats_server) as client:
        journal = await open_journal(client.jetstream())
        async with running(journal), sink_process(config):
            await writing(journal, "a", 1)
            await wait_for("the first rows", lambda: len(readings_in(directory)) == 10, timeout_s=10)
