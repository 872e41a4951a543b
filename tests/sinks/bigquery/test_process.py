"""The whole sink, from journals in a real NATS server to a real BigQuery emulator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from ext_proc.sinks.app import serve
from ext_proc.sinks.config import SinkConfig
from tests.journal.support import connected, running, wait_for
from tests.sinks.support import expected_keys, open_journal, writing
from tests.support.bigquery import BigQueryEmulator
from tests.support.nats import NatsServer


@asynccontextmanager
async def sinking(server: NatsServer, emulator: BigQueryEmulator) -> AsyncIterator[None]:
    """A sink in a task of its own, ended in order."""
    ready = asyncio.Event()
    config = SinkConfig(name="bigquery", nats_url=server.url, shards=2, target=emulator.target())
    task = asyncio.create_task(serve(config, lambda _info: ready.set()))
    try:
        await ready.wait()
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_readings_and_windows_once_through_a_death_of_nats(
    nats_server: NatsServer, bigquery_emulator: BigQueryEmulator
) -> None:
    """Two shards, NATS killed and started while the sink runs: every row is there, none twice."""

    async def arrived(sensor: str, rows: int) -> None:
        wanted = expected_keys(sensor, 1, rows)

        async def probe() -> bool:
            found = await asyncio.to_thread(bigquery_emulator.readings, sensor)
            return sorted((row.sensor_id, row.epoch, row.seq) for row in found) == wanted

        await wait_for(f"{rows} readings of {sensor}", probe, timeout_s=30)

    async def write(lease: int, runs: int, through: int) -> None:
        async with connected(nats_server) as client:
            js = client.jetstream()
            first, second = await open_journal(js, 0, lease), await open_journal(js, 1, lease)
            async with running(first), running(second):
                await writing(first, "a", runs)
                await writing(second, "b", runs)
                await arrived("a", through)
                await arrived("b", through)

    async with sinking(nats_server, bigquery_emulator):
        await write(lease=1, runs=20, through=200)
        nats_server.kill()
        nats_server.start()
        await write(lease=2, runs=10, through=300)
    ((rows, distinct),) = bigquery_emulator.query("SELECT COUNT(*), COUNT(DISTINCT row_key) FROM windows")
    assert rows == distinct > 0
