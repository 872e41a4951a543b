"""Flow control: a worker that reads no more stops the agent, through gRPC, Envoy and two sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ext_proc.follower.gateway import HttpGateway, StreamRequest
from ext_proc.worker.ext_proc_server import ExtProcServer
from tests.journal.support import wait_for
from tests.worker.envoy import StaticEnvoy
from wire.names import FRAMES_CONTENT_TYPE

pytestmark = pytest.mark.timeout(60)

PIECE = bytes(64 << 10)
MOST_ON_THE_WAY = 32 << 20  # sockets' buffers; Envoy and gRPC hold far less


class Gate:
    """A consumer that takes body only while it is open."""

    sensor_id = "press-1"

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.taken = 0

    def find(self, _: str) -> Gate:
        """Return itself, for every token."""
        return self

    def claim(self) -> bool:
        """Take every stream."""
        return True

    def on_headers(self, status: int, content_type: str) -> None:
        """Take every head."""

    async def on_body(self, data: bytes) -> None:
        """Count, and hold while it is closed."""
        self.taken += len(data)
        await self.open.wait()

    def on_end(self, *, complete: bool) -> None:
        """Nothing is kept."""


class Firehose:
    """An agent that sends as fast as it can; `sent` is what its socket took."""

    def __init__(self) -> None:
        self.sent = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, without an end."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            head = f"Transfer-Encoding: chunked\r\nContent-Type: {FRAMES_CONTENT_TYPE}"
            writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode())
            while True:
                writer.write(b"%x\r\n%s\r\n" % (len(PIECE), PIECE))
                await writer.drain()
                self.sent += len(PIECE)


@asynccontextmanager
async def flowing(folder: Path) -> AsyncIterator[tuple[Firehose, Gate]]:
    """Return an agent and a consumer with a stream between them."""
    hose, gate = Firehose(), Gate()
    agent = await asyncio.start_server(hose.serve, "127.0.0.1", 0)
    port = agent.sockets[0].getsockname()[1]
    envoy = StaticEnvoy(folder / "envoy", folder / "worker.sock", {"host.lab": {"press-1": port}})
    server = ExtProcServer(gate)
    await server.start(envoy.socket)
    envoy.start()
    try:
        async with HttpGateway(envoy.url) as gateway:
            holding = asyncio.create_task(gateway.hold(StreamRequest("press-1", "host.lab", "any", None)))
            yield hose, gate
            holding.cancel()
            await asyncio.wait({holding})
    finally:
        await server.stop()
        envoy.stop()
        agent.close()


async def test_a_worker_that_holds_back_stops_the_agent(tmp_path: Path) -> None:
    """What is on the way is bounded; nothing of it is lost, and it goes on when there is room."""
    async with flowing(tmp_path) as (hose, gate):
        await wait_for("it flows", lambda: gate.taken > 2 * MOST_ON_THE_WAY)
        gate.open.clear()
        before = -1
        while hose.sent > before:  # until the agent is stopped
            before = hose.sent
            await asyncio.sleep(0.5)
        assert hose.sent - gate.taken < MOST_ON_THE_WAY
        assert gate.taken < hose.sent
        gate.open.set()
        await wait_for("it goes on", lambda: gate.taken > before + MOST_ON_THE_WAY)
