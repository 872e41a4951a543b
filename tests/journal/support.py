"""Deliveries, policies and reading back, for tests of the journal."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import nats
import numpy as np
import pyarrow as pa
from nats.aio.client import Client
from nats.js import JetStreamContext

from ext_proc.journal.opening import open_shard
from ext_proc.journal.recovery import Position
from ext_proc.journal.schedule import Limits
from ext_proc.journal.shard import ShardJournal, ShardSettings
from ext_proc.journal.streams import Retention
from ext_proc.session.model import Readings
from tests.support.nats import NatsServer
from wire import names
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import READINGS_SCHEMA, WINDOWS_SCHEMA, decode_rows

NS = 1_000_000_000
WAIT_S = 20.0
SETTINGS = ShardSettings(Limits(batch_rows=1000, batch_ms=5, tick_ms=50), checkpoint_s=1000)
SMALL = Retention(readings_bytes=64 << 20, windows_bytes=64 << 20)


def policy(horizon_ms: int = 60_000) -> config_pb2.WindowPolicy:
    """Return a policy of 1 s live and 10 s journalled windows."""
    return config_pb2.WindowPolicy(
        sizes=[
            config_pb2.WindowSize(size_ms=1000, journalled=False),
            config_pb2.WindowSize(size_ms=10_000, journalled=True),
        ],
        horizon_ms=horizon_ms,
        idle_close_ms=5000,
        max_future_skew_ms=10_000,
        max_past_ms=400 * 86_400_000,
    )


def run_of(
    sensor_id: str, first_seq: int, count: int, *, epoch: int = 7, start_unix_ns: int = 0, step_ns: int = NS
) -> Readings:
    """Return readings whose value is their seq, `step_ns` apart from `start_unix_ns` (seq 0) on."""
    seqs = np.arange(first_seq, first_seq + count)
    return Readings(
        sensor_id=sensor_id,
        site="hall-3",
        epoch=epoch,
        first_seq=first_seq,
        series=(("temperature", "Cel"),),
        series_index=np.zeros(count, np.uint32),
        time_unix_ns=start_unix_ns + seqs * step_ns,
        value=seqs.astype(np.float64),
        quality=np.zeros(count, np.uint8),
        verdict=np.zeros(count, np.uint8),
    )


@asynccontextmanager
async def connected(server: NatsServer) -> AsyncIterator[Client]:
    """Return a connection to `server` as the worker has it."""

    async def ignore(_: Exception) -> None:
        """Disconnections are part of these tests."""

    client = await nats.connect(
        server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05, pending_size=0, error_cb=ignore
    )
    try:
        yield client
    finally:
        await client.close()


async def no_live(_: pa.RecordBatch) -> None:
    """Publish nothing."""


async def open_journal(
    js: JetStreamContext, *, lease: int = 1, writer: str = "worker-1", known: Position | None = None
) -> ShardJournal:
    """Open shard 0 and append OPEN."""
    opened = await open_shard(js, 0, writer, lease, known=known, retention=SMALL)
    journal = ShardJournal(js, opened, SETTINGS, no_live)
    await journal.open(policy())
    return journal


@asynccontextmanager
async def running(journal: ShardJournal) -> AsyncIterator[asyncio.Task[None]]:
    """Run `journal`; close it in order at the end if it still runs."""
    task = asyncio.create_task(journal.run())
    try:
        yield task
    finally:
        journal.close()
        await asyncio.wait({task}, timeout=WAIT_S)


async def wait_for(what: str, probe: Callable[[], Awaitable[bool] | bool], timeout_s: float = WAIT_S) -> None:
    """Wait until `probe` says so; fail with `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = probe()
        if answer is True or (inspect.isawaitable(answer) and await answer):
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        await asyncio.sleep(0.02)


async def _messages(js: JetStreamContext, stream: str) -> list[tuple[int, bytes]]:
    state = (await js.stream_info(stream)).state
    messages = []
    for seq in range(state.first_seq, state.last_seq + 1):
        message = await js.get_msg(stream, seq=seq)
        messages.append((seq, message.data or b""))
    return messages


async def readings_log(js: JetStreamContext) -> list[tuple[int, journal_pb2.ReadingsRecord]]:
    """Return the readings stream of shard 0."""
    found = await _messages(js, names.readings_stream(0))
    return [(seq, journal_pb2.ReadingsRecord.FromString(data)) for seq, data in found]


async def windows_log(js: JetStreamContext) -> list[journal_pb2.WindowsRecord]:
    """Return the windows stream of shard 0."""
    found = await _messages(js, names.windows_stream(0))
    return [journal_pb2.WindowsRecord.FromString(data) for _, data in found]


def seqs_of(log: Sequence[tuple[int, journal_pb2.ReadingsRecord]], sensor_id: str) -> list[int]:
    """Return the sequence numbers of a sensor's rows in log order."""
    found: list[int] = []
    for _, record in log:
        if record.count:
            rows = decode_rows(record.rows, READINGS_SCHEMA)
            pairs = zip(rows.column("sensor").to_pylist(), rows.column("seq").to_pylist(), strict=True)
            found += [seq for sensor, seq in pairs if sensor == sensor_id]
    return found


def window_rows(log: Sequence[journal_pb2.WindowsRecord]) -> pa.Table:
    """Return all window rows in log order."""
    batches = [decode_rows(record.rows, WINDOWS_SCHEMA) for record in log]
    return pa.Table.from_batches(batches, schema=WINDOWS_SCHEMA)


def check_log(log: Sequence[tuple[int, journal_pb2.ReadingsRecord]]) -> None:
    """Check R1, R2 and that sequences are contiguous."""
    records = [record for _, record in log]
    assert [seq for seq, _ in log] == list(range(log[0][0], log[0][0] + len(log)))
    nows = [record.now_unix_ns for record in records]
    assert nows == sorted(nows)
    leases = [record.lease_generation for record in records]
    assert leases == sorted(leases)
    writers: set[tuple[str, int]] = set()
    for record in records:
        writer = (record.writer, record.lease_generation)
        if writer not in writers:
            writers.add(writer)
            assert record.kind == journal_pb2.ReadingsRecord.OPEN
            assert record.policy.sizes
