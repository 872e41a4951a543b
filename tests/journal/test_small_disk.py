"""The journal's streams on disks smaller than they may grow to, on a real NATS server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.js import JetStreamContext

from ext_proc.journal.streams import MIN_BYTES, Retention, ensure_streams
from tests.journal.support import connected
from tests.support.nats import NatsServer
from wire.names import events_stream, readings_stream, windows_stream

SHARDS = 2


@asynccontextmanager
async def store_of(folder: Path, max_bytes: int) -> AsyncIterator[JetStreamContext]:
    """Return the JetStream of a server that gives its streams `max_bytes` in all."""
    server = NatsServer(folder, max_file_store_bytes=max_bytes)
    server.start()
    try:
        async with connected(server) as client:
            yield client.jetstream()
    finally:
        server.stop()


@pytest.mark.parametrize("gibibytes", [0.75, 1.5, 3, 6, 12])
async def test_every_shard_finds_room(tmp_path: Path, gibibytes: float) -> None:
    """However small the disk, the streams of the first shard leave room for those of the second."""
    store_bytes = int(gibibytes * (1 << 30))
    async with store_of(tmp_path / "nats", store_bytes) as js:
        for shard in range(SHARDS):
            await ensure_streams(js, shard, Retention())
        sizes = [
            (await js.stream_info(name(shard))).config.max_bytes or 0
            for shard in range(SHARDS)
            for name in (readings_stream, windows_stream, events_stream)
        ]
        assert min(sizes) >= MIN_BYTES
        assert sum(sizes) <= store_bytes
