"""The whole sink, from the journal in a real NATS server to the double of Power BI."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client

from ext_proc.journal.streams import ensure_streams
from ext_proc.sinks.app import serve
from ext_proc.sinks.config import SinkConfig
from ext_proc.sinks.model import Chunk
from ext_proc.sinks.powerbi.config import PowerBiTarget
from tests.journal.support import SMALL, connected
from tests.sinks.powerbi.support import S, chunk, configure, keys, series, windows_dataset
from tests.support.nats import NatsServer
from tests.support.powerbi import PowerBiDouble
from tests.support.powerbi_limits import Dataset, RefusalError
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import SCHEMA_VERSION, encode_rows
from wire.names import sink_status_subject, windows_subject
from wire.status import SinkStatus

WAIT_S = 20.0


@pytest.fixture
async def powerbi(tmp_path: Path) -> AsyncIterator[PowerBiDouble]:
    """The double on the machine's clock; its client secret is in a file."""
    double = PowerBiDouble()
    (tmp_path / "secret").write_text(double.client_secret)
    await double.start()
    yield double
    await double.close()
    assert double.breaches == []


@pytest.fixture
def dataset(powerbi: PowerBiDouble) -> Dataset:
    """The model with the windows table."""
    return windows_dataset(powerbi)


def settings(powerbi: PowerBiDouble, dataset: Dataset, tmp_path: Path, **changes: object) -> PowerBiTarget:
    """Return the target's configuration."""
    secret = {"client_secret_env": None, "client_secret_file": str(tmp_path / "secret")}
    return configure(powerbi, dataset, **secret, **changes)


@asynccontextmanager
async def running(server: NatsServer, target: PowerBiTarget) -> AsyncIterator[None]:
    """A sink in a task of its own, ended in order."""
    ready = asyncio.Event()
    config = SinkConfig(name="powerbi", nats_url=server.url, shards=2, target=target)
    task = asyncio.create_task(serve(config, lambda _: ready.set()))
    try:
        await asyncio.wait_for(ready.wait(), WAIT_S)
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def append(client: Client, record: Chunk) -> None:
    """Append a windows record to its shard's stream, as a worker writes it."""
    message = journal_pb2.WindowsRecord(
        schema=SCHEMA_VERSION,
        shard=record.shard,
        generation=record.generation,
        now_unix_ns=record.now_unix_ns,
        append_id=record.seq.to_bytes(16, "big"),
        through=record.seq,
        count=record.rows.num_rows,
        rows=encode_rows(record.rows),
    )
    await client.jetstream().publish(windows_subject(record.shard), message.SerializeToString())


async def status_where(client: Client, good: Callable[[SinkStatus], bool]) -> SinkStatus:
    """Return the first status that is `good`."""
    subscription = await client.subscribe(sink_status_subject("powerbi"))
    async with asyncio.timeout(WAIT_S):
        async for message in subscription.messages:
            status = SinkStatus.model_validate_json(message.data)
            if good(status):
                await subscription.unsubscribe()
                return status
    raise AssertionError


async def test_from_the_journal_to_power_bi(
    nats_server: NatsServer, powerbi: PowerBiDouble, dataset: Dataset, tmp_path: Path
) -> None:
    """Windows of both shards arrive once, also over a refusal and a restart of the sink."""
    target = settings(powerbi, dataset, tmp_path)
    powerbi.scripted.extend([None, RefusalError(429, "TooManyRequests", retry_after_s=1)])
    async with connected(nats_server) as client:
        for shard in (0, 1):
            await ensure_streams(client.jetstream(), shard, SMALL)
        async with running(nats_server, target):
            for seq in range(1, 6):
                for shard in (0, 1):
                    await append(
                        client, chunk(series(20, time.time_ns(), first=20 * shard), shard=shard, seq=seq)
                    )
            await status_where(client, lambda status: status.rows_delivered == 200 and status.lag_rows == 0)
        await append(client, chunk(series(20, time.time_ns()), seq=6))
        async with running(nats_server, target):
            await status_where(client, lambda status: status.rows_delivered == 20)
    arrived = keys(dataset.tables["windows"].rows())
    assert len(arrived) == len(set(arrived)) == 220


async def test_what_is_given_up_is_said(
    nats_server: NatsServer, powerbi: PowerBiDouble, dataset: Dataset, tmp_path: Path
) -> None:
    """A backlog beyond the hour's rows: the newest window of each series arrives, the rest is counted."""
    target = settings(powerbi, dataset, tmp_path, rows_per_hour=1_000)
    async with connected(nats_server) as client:
        for shard in (0, 1):
            await ensure_streams(client.jetstream(), shard, SMALL)
        now = time.time_ns()
        for seq in range(1, 101):
            await append(client, chunk(series(2, now - (100 - seq) * 10 * S), seq=seq))
        async with running(nats_server, target):
            status = await status_where(client, lambda status: status.rows_delivered + status.given_up == 200)
    assert status.state == "running"
    assert status.given_up > 100
    rows = dataset.tables["windows"].rows()
    assert len(rows) == status.rows_delivered
    assert {row["sensor_id"] for row in rows if row["journal_seq"] == 100} == {"s-0", "s-1"}


async def test_missing_permission_is_said(
    nats_server: NatsServer, powerbi: PowerBiDouble, dataset: Dataset, tmp_path: Path
) -> None:
    """The status is failed, with what to do, and without the secret."""
    powerbi.allowed = False
    target = settings(powerbi, dataset, tmp_path)
    async with connected(nats_server) as client, running(nats_server, target):
        status = await status_where(client, lambda status: status.state == "failed")
    assert status.message is not None
    assert "Service principals can use Power BI APIs" in status.message
    assert powerbi.client_secret not in status.model_dump_json()
