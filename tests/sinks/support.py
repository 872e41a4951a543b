"""A journal to read, targets that remember, a driver that runs, for tests of the sinks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pyarrow as pa
from nats.aio.client import Client
from nats.js import JetStreamContext

from ext_proc.journal.batch import rows_of
from ext_proc.journal.opening import open_shard
from ext_proc.journal.shard import ShardJournal
from ext_proc.sinks.driver import Driver
from ext_proc.sinks.errors import SinkError
from ext_proc.sinks.model import KINDS, BatchLimits, Chunk, DeadRow, Delivered, Kind
from ext_proc.sinks.tables import public_rows
from tests.journal.support import NS, SETTINGS, SMALL, no_live, policy, run_of
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import SCHEMA_VERSION, WINDOWS_SCHEMA, encode_rows

START = 1_800_000_000 * NS
SINK = "memory"
NO_READINGS = rows_of([run_of("a", 1, 1)]).slice(0, 0)
ReadingKey = tuple[str, str, int]


class MemoryTarget:
    """Keeps what it is given.

    Attributes:
        chunks: Everything that was delivered, in order of the calls.
        troubles: Errors to raise, one a call, before anything is taken.
        poison: Values of readings that are dead.
        gate: Nothing is taken while it is closed.
    """

    def __init__(self, kinds: tuple[Kind, ...] = KINDS, limits: BatchLimits | None = None) -> None:
        self.name = "memory"
        self.kinds = kinds
        self.limits = limits or BatchLimits(rows=100, age_s=0.02)
        self.chunks: list[Chunk] = []
        self.troubles: list[SinkError] = []
        self.start_troubles: list[SinkError] = []
        self.poison: set[float] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.calls: list[list[tuple[int, int]]] = []

    async def start(self) -> None:
        """Raise what is to be raised."""
        if self.start_troubles:
            raise self.start_troubles.pop(0)

    async def deliver(self, chunks: Sequence[Chunk]) -> Delivered:
        """Keep `chunks`."""
        self.calls.append([(chunk.generation, chunk.seq) for chunk in chunks])
        if self.troubles:
            raise self.troubles.pop(0)
        await self.gate.wait()
        assert len({(chunk.kind, chunk.shard, chunk.generation) for chunk in chunks}) == 1
        assert all(chunk.rows.num_rows for chunk in chunks)
        self.chunks += chunks
        rows = sum(chunk.rows.num_rows for chunk in chunks)
        dead = [
            DeadRow({"sensor_id": row["sensor"], "seq": row["seq"], "value": row["value"]}, "poison")
            for chunk in chunks
            if chunk.kind == "readings"
            for row in chunk.rows.select(["sensor", "seq", "value"]).to_pylist()
            if row["value"] in self.poison
        ]
        return Delivered(rows - len(dead), tuple(dead))

    async def close(self) -> None:
        """Nothing to let go of."""

    def keys(self) -> list[ReadingKey]:
        """Return the keys of all readings, as often as they came."""
        chunks = [chunk for chunk in self.chunks if chunk.kind == "readings"]
        return reading_keys(public_rows(chunks)) if chunks else []

    def windows(self) -> list[str]:
        """Return the keys of all windows."""
        chunks = [chunk for chunk in self.chunks if chunk.kind == "windows"]
        return public_rows(chunks).column("row_key").to_pylist() if chunks else []


def reading_keys(rows: pa.Table) -> list[ReadingKey]:
    """Return (sensor, epoch, seq) of public rows."""
    columns = (rows.column(name).to_pylist() for name in ("sensor_id", "epoch", "seq"))
    return list(zip(*columns, strict=True))


def expected_keys(sensor_id: str, first: int, last: int, epoch: int = 7) -> list[ReadingKey]:
    """Return the keys of a run of readings."""
    return [(sensor_id, f"{epoch:016x}", seq) for seq in range(first, last + 1)]


def readings_chunk(seq: int, *runs: tuple[str, int, int], now_unix_ns: int = START, **place: int) -> Chunk:
    """Return a chunk of readings: runs of (sensor, first seq, count); `place`: shard, generation."""
    found = [run_of(sensor, first, count, start_unix_ns=START) for sensor, first, count in runs]
    rows = rows_of(found) if found else NO_READINGS
    where = {"shard": 0, "generation": 1} | place
    return Chunk(
        "readings",
        where["shard"],
        where["generation"],
        seq,
        now_unix_ns,
        rows,
        f"{where['generation']:02x}{seq:06x}",
    )


def windows_chunk(
    seq: int,
    *windows: tuple[str, int, int],
    now_unix_ns: int = START,
    generation: int = 1,
    count: int = 10,
) -> Chunk:
    """Return a chunk of 10 s windows: (sensor, number from START, revision); each of `count` readings."""
    rows = [
        {
            "sensor": sensor,
            "site": "hall-3",
            "metric": "temperature",
            "unit": "Cel",
            "size_ms": 10_000,
            "start": START + number * 10 * NS,
            "revision": revision,
            "count": count,
            **dict.fromkeys(("min", "max", "mean", "first", "last", "p50", "p95", "p99"), 20.0),
            "sum": 20.0 * count,
            "stddev": 0.0 if count > 1 else None,
            "first_time": START + number * 10 * NS + 1,
            "last_time": START + number * 10 * NS + 2,
        }
        for sensor, number, revision in windows
    ]
    columns = [
        pa.array([row[field.name] for row in rows]).cast(field.type)
        if not pa.types.is_dictionary(field.type)
        else pa.array([row[field.name] for row in rows]).dictionary_encode()
        for field in WINDOWS_SCHEMA
    ]
    batch = pa.RecordBatch.from_arrays(columns, schema=WINDOWS_SCHEMA)
    return Chunk("windows", 0, generation, seq, now_unix_ns, batch, f"{generation:02x}{seq:06x}")


async def open_journal(js: JetStreamContext, shard: int = 0, lease: int = 1) -> ShardJournal:
    """Open a shard and append OPEN."""
    opened = await open_shard(js, shard, "worker-1", lease, known=None, retention=SMALL)
    journal = ShardJournal(js, opened, SETTINGS, no_live)
    await journal.open(policy())
    return journal


@asynccontextmanager
async def sinking(client: Client, target: MemoryTarget, shards: int = 1) -> AsyncIterator[Driver]:
    """Run a driver; an error of its own fails the test."""
    driver = Driver(client, SINK, shards, target)
    task = asyncio.create_task(driver.run())
    try:
        yield driver
    finally:
        if not task.done():
            task.cancel()
        await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()):
            raise error


async def writing(journal: ShardJournal, sensor_id: str, runs: int, size: int = 10) -> int:
    """Append `runs` records of readings; return the last sequence number of the sensor."""
    newest = journal.cursor(sensor_id).newest
    last = newest[1] if newest else 0
    for _ in range(runs):
        journal.offer([run_of(sensor_id, last + 1, size, start_unix_ns=START)])
        await journal.flush()
        journal.cursor(sensor_id).accept(7, last + 1, last + size)
        last += size
    return last


def record_of(chunk: Chunk) -> journal_pb2.ReadingsRecord:
    """Return the record that decodes to `chunk`, of readings."""
    return journal_pb2.ReadingsRecord(
        schema=SCHEMA_VERSION,
        kind=journal_pb2.ReadingsRecord.READINGS,
        generation=chunk.generation,
        now_unix_ns=chunk.now_unix_ns,
        append_id=bytes.fromhex(chunk.append_id),
        count=chunk.rows.num_rows,
        rows=encode_rows(chunk.rows),
    )
