"""The agent's process: captures, commits every flush, serves streams over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from aiohttp import web

from hyperv.guest.capture import Capture, make_capture
from hyperv.guest.spool import Captured, Spool
from hyperv.model import Endpoint, VmSpec
from wire.frames import delimit
from wire.gen.gaugeway.readings.v1 import readings_pb2
from wire.ids import InvalidIdError, parse_after
from wire.names import FRAMES_CONTENT_TYPE, STREAM_PATH

HEARTBEAT_S = 1.0
_FRAMES_A_WRITE = 64


class Agent:
    """One sensor's agent over one spool."""

    def __init__(self, spec: VmSpec, spool: Spool) -> None:
        self.spec = spec
        self.spool = spool
        self.incarnation = secrets.token_hex(8)
        self._committed = asyncio.Condition()
        self._spool_lock = asyncio.Lock()  # one writer or one reader in the spool at a time
        self._runner: web.AppRunner | None = None
        self._site: web.SockSite | web.TCPSite | None = None

    async def listen(self, address: str, port: int) -> Endpoint:
        """Serve at `address`; a busy port is replaced by a free one. Open streams stay as they are."""
        if self._runner is None:
            app = web.Application()
            app.router.add_get(STREAM_PATH, self._stream)
            app.router.add_get("/healthz", self._health)
            self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
            await self._runner.setup()
        before = self._site
        try:
            site = web.TCPSite(self._runner, address, port)
            await site.start()
        except OSError:
            site = web.TCPSite(self._runner, address, 0)
            await site.start()
        self._site = site
        if before is not None:
            await before.stop()
        server = site._server
        assert isinstance(server, asyncio.Server)
        return Endpoint(address=address, port=server.sockets[0].getsockname()[1])

    async def capture(self) -> None:
        """Capture and commit until cancelled; a capture in hand is committed then."""
        source = make_capture(self.spec, self.spool.captured, self.spool.last_time_unix_ns(), time.time_ns())
        pending: list[Captured] = []
        flush_ns = self.spec.flush_ms * 1_000_000
        flush_at = time.time_ns() + flush_ns
        try:
            while True:
                await asyncio.sleep(_pause_s(source, flush_at, bool(pending)))
                pending += source.due(time.time_ns())
                if pending and time.time_ns() >= flush_at:
                    batch, pending = pending, []
                    await asyncio.shield(self._commit(batch))
                    flush_at = time.time_ns() + flush_ns
        finally:
            self.spool.commit(pending)

    async def close(self) -> None:
        """Stop serving."""
        if self._runner is not None:
            await self._runner.cleanup()
        self.spool.close()

    async def _commit(self, batch: list[Captured]) -> None:
        async with self._spool_lock:
            await asyncio.to_thread(self.spool.commit, batch)
        async with self._committed:
            self._committed.notify_all()

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response(
            {"sensor_id": self.spec.sensor_id, "incarnation": self.incarnation, "head_seq": self.spool.head}
        )

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        try:
            after = await self._start_after(request.query.get("after"))
        except InvalidIdError as error:
            problem = {"type": "about:blank", "title": "Bad request", "status": 400, "detail": str(error)}
            return web.json_response(problem, status=400, content_type="application/problem+json")
        response = web.StreamResponse(headers={"Content-Type": FRAMES_CONTENT_TYPE})
        response.enable_chunked_encoding()
        await response.prepare(request)
        epoch = self.spool.epoch
        with contextlib.suppress(ConnectionResetError):
            async for data in self._frames(after):
                await response.write(data)
                if self.spool.epoch != epoch:
                    break  # another follower made a new epoch begin: this one asks again
        return response

    async def _start_after(self, cursor: str | None) -> int:
        """Return the sequence number to serve after, in the current epoch; begin a new one if need be."""
        if cursor is None:
            return 0
        epoch, seq = parse_after(cursor)
        if epoch != self.spool.epoch:
            return 0
        if seq > self.spool.head:
            async with self._spool_lock:
                await asyncio.to_thread(self.spool.begin_epoch)
            return 0
        return seq

    async def _frames(self, after: int) -> AsyncIterator[bytes]:
        """Yield delimited frames for ever: a heartbeat, then what follows `after` as it is committed."""
        if after == 0:
            after = self.spool.oldest - 1
        reader = self.spool.reader(after)
        yield self._heartbeat()
        while True:
            async with self._spool_lock:
                data = await asyncio.to_thread(_read_some, reader.read)
            if data:
                yield data
                continue
            async with self._committed:
                try:
                    await asyncio.wait_for(self._committed.wait(), HEARTBEAT_S)
                except TimeoutError:
                    heartbeat = True
                else:
                    heartbeat = False
            if heartbeat:
                yield self._heartbeat()

    def _heartbeat(self) -> bytes:
        beat = readings_pb2.Heartbeat(
            epoch=self.spool.epoch, head_seq=self.spool.head, time_unix_ns=time.time_ns()
        )
        return delimit(readings_pb2.Frame(heartbeat=beat).SerializeToString())


def _read_some(read: Callable[[], readings_pb2.Frame | None]) -> bytes:
    frames: list[bytes] = []
    while len(frames) < _FRAMES_A_WRITE and (frame := read()) is not None:
        frames.append(delimit(frame.SerializeToString()))
    return b"".join(frames)


def _pause_s(source: Capture, flush_at_unix_ns: int, pending: bool) -> float:
    until = min(source.next_due_unix_ns(), flush_at_unix_ns) if pending else source.next_due_unix_ns()
    return min(max(until - time.time_ns(), 0) / 1e9, 3600.0)


async def run(
    spec: VmSpec,
    spool_dir: Path,
    listen: tuple[str, int],
    commands: asyncio.StreamReader,
    report: Callable[[str], None],
) -> None:
    """Run an agent until `commands` ends; each line of it is a JSON command.

    {"listen": "ADDR:PORT"} moves the listening socket. Every endpoint is
    reported as one JSON line: {"endpoint": {...}, "incarnation": ...}.
    """
    spool = await asyncio.to_thread(Spool, spool_dir, spec.spool_bytes)
    agent = Agent(spec, spool)

    def tell(endpoint: Endpoint) -> None:
        report(json.dumps({"endpoint": endpoint.model_dump(), "incarnation": agent.incarnation}))

    capture = asyncio.create_task(agent.capture())
    commander = asyncio.create_task(_obey(agent, commands, tell))
    try:
        tell(await agent.listen(*listen))
        done, _ = await asyncio.wait({capture, commander}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (capture, commander):
            task.cancel()
        await asyncio.gather(capture, commander, return_exceptions=True)
        await agent.close()


async def _obey(agent: Agent, commands: asyncio.StreamReader, tell: Callable[[Endpoint], None]) -> None:
    while line := await commands.readline():
        address, _, port = str(json.loads(line)["listen"]).rpartition(":")
        tell(await agent.listen(address, int(port)))
