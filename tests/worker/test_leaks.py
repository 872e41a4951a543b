"""However an ext_proc stream ends, no byte of a body reaches the follower: the fail-open trap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from ext_proc.follower.attempt import RefusedError
from ext_proc.follower.gateway import HttpGateway, LeakedBytesError, StreamRequest
from ext_proc.journal.errors import ShardClosedError
from ext_proc.worker.ext_proc_server import ExtProcServer
from tests.journal.support import wait_for
from tests.worker.agent import ScriptedAgent, scripted_agent
from tests.worker.envoy import StaticEnvoy

pytestmark = pytest.mark.timeout(60)


@dataclass
class Scripted:
    """A consumer that takes some pieces of body and then does `then`."""

    then: str
    pieces: int = 0
    byte_count: int = 0
    claimed: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    sensor_id: str = "press-1"

    def claim(self) -> bool:
        """Take one stream."""
        self.claimed += 1
        return self.claimed == 1

    def on_headers(self, status: int, content_type: str) -> None:
        """Refuse at once if told so."""
        if self.then == "refuse headers":
            raise RefusedError("not this one")
        assert (status, bool(content_type)) == (200, True)

    async def on_body(self, data: bytes) -> None:
        """Count, then do as told after three pieces."""
        self.pieces += 1
        self.byte_count += len(data)
        if self.pieces < 3:
            return
        match self.then:
            case "refuse":
                raise RefusedError("no more of this")
            case "shard closed":
                raise ShardClosedError(0)
            case "bug":
                raise ZeroDivisionError("unforeseen")
            case "cancel":
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(0)
            case "stall":
                await asyncio.Event().wait()

    def on_end(self, *, complete: bool) -> None:
        """Note the end, in order or not."""
        self.complete = complete
        self.ended.set()


class One:
    """Finds one consumer by its token."""

    def __init__(self, consumer: Scripted) -> None:
        self.consumer = consumer

    def find(self, token: str) -> Scripted | None:
        """Return the consumer for its token."""
        return self.consumer if token == "right" else None


@dataclass
class Around:
    """A server with one consumer, beside a real Envoy and an agent that never stops."""

    server: ExtProcServer
    agent: ScriptedAgent
    gateway: HttpGateway
    url: str

    async def hold(self, token: str = "right", sensor: str = "press-1") -> str:
        """Hold the stream; return why it ended. Raises LeakedBytesError."""
        async with asyncio.timeout(20):
            return await self.gateway.hold(StreamRequest(sensor, "host.lab", token, None))


@asynccontextmanager
async def surroundings(folder: Path, consumer: Scripted) -> AsyncIterator[Around]:
    """Return a running server, Envoy and agent."""
    async with scripted_agent() as agent:
        agent.produce(200_000)
        hosts = {"host.lab": {"press-1": agent.port, "press-2": agent.port}}
        envoy = StaticEnvoy(folder / "envoy", folder / "worker.sock", hosts)
        server = ExtProcServer(One(consumer))
        await server.start(envoy.socket)
        envoy.start()
        try:
            async with HttpGateway(envoy.url) as gateway:
                yield Around(server, agent, gateway, envoy.url)
        finally:
            await server.stop()
            envoy.stop()


@pytest.mark.parametrize("then", ["refuse headers", "refuse", "shard closed", "bug", "cancel"])
async def test_a_handler_that_ends_resets_the_stream(tmp_path: Path, then: str) -> None:
    """Refusals, a lost shard, a bug in the consumer, a cancelled task: always a reset."""
    consumer = Scripted(then)
    async with surroundings(tmp_path, consumer) as around:
        reason = await around.hold()
        assert "reset" in reason or "500" in reason
        await asyncio.wait_for(consumer.ended.wait(), 10)
        await wait_for("the agent's stream ends", lambda: around.agent.open_streams == 0)


@pytest.mark.parametrize("then", ["go on", "stall"])
async def test_a_server_that_stops_resets_the_stream(tmp_path: Path, then: str) -> None:
    """Stopping in full flow, or while a consumer holds it back, leaks nothing."""
    consumer = Scripted(then)
    async with surroundings(tmp_path, consumer) as around:
        holding = asyncio.create_task(around.hold())
        await wait_for("the body flows", lambda: consumer.pieces >= 3)
        await around.server.stop()
        assert "reset" in await holding


async def test_the_end_of_a_body_is_no_leak(tmp_path: Path) -> None:
    """An agent that breaks off in the middle ends the stream as a reset."""
    consumer = Scripted("go on")
    async with surroundings(tmp_path, consumer) as around:
        holding = asyncio.create_task(around.hold())
        await wait_for("the body flows", lambda: consumer.pieces >= 3)
        around.agent.cut()
        assert "reset" in await holding


@pytest.mark.parametrize(("token", "sensor"), [("wrong", "press-1"), ("right", "press-2")])
async def test_streams_that_the_follower_did_not_open_are_refused(
    tmp_path: Path, token: str, sensor: str
) -> None:
    """A token that was not issued, or issued for another sensor, gets nothing."""
    consumer = Scripted("go on")
    async with surroundings(tmp_path, consumer) as around:
        reason = await around.hold(token, sensor)
        assert "500" in reason
        assert consumer.pieces == 0


async def test_a_token_is_good_for_one_stream(tmp_path: Path) -> None:
    """A second stream with the same token is refused, and the first goes on."""
    consumer = Scripted("go on")
    async with surroundings(tmp_path, consumer) as around:
        holding = asyncio.create_task(around.hold())
        await wait_for("the body flows", lambda: consumer.pieces >= 3)
        assert "500" in await around.hold()
        before = consumer.pieces
        await wait_for("it still flows", lambda: consumer.pieces > before + 3)
        holding.cancel()
        await asyncio.wait_for(consumer.ended.wait(), 10)


class Leaking(asyncio.Protocol):
    """A server of HTTP/2 that answers every request with 200 and a body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.http2 = H2Connection(H2Configuration(client_side=False))
        self.http2.initiate_connection()
        transport.write(self.http2.data_to_send())

    def data_received(self, data: bytes) -> None:
        """Answer."""
        for event in self.http2.receive_data(data):
            if isinstance(event, RequestReceived):
                self.http2.send_headers(event.stream_id, [(":status", "200")])
                self.http2.send_data(event.stream_id, b"a reading")
        self.transport.write(self.http2.data_to_send())


async def test_the_follower_notices_a_leak() -> None:
    """Bytes of a body at the follower are an error, not a stream (here Envoy is left out)."""
    server = await asyncio.get_running_loop().create_server(Leaking, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, HttpGateway(url) as gateway:
        with pytest.raises(LeakedBytesError):
            await gateway.hold(StreamRequest("press-1", "host.lab", "right", None))
