"""A scripted agent: HTTP/1.1, chunked frames, a spool in memory, and bad manners on request."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

from tests.session.frames import body
from wire.gen.gaugeway.readings.v1 import readings_pb2
from wire.ids import parse_after
from wire.names import FRAMES_CONTENT_TYPE

HEARTBEAT_S = 0.2
STEP_NS = 1_000_000
FRAME_ROWS = 20
PACE_S = 0.002  # between frames, so that cuts meet a stream in full flow


class ScriptedAgent:
    """Serves readings 1..head of one epoch; reading `seq` has the value `seq`.

    Attributes:
        head: How many readings there are; raise it with `produce`.
        begun_unix_ns: Event time of reading 0; readings are STEP_NS apart.
        afters: What each stream was asked after; "" for the beginning.
        open_streams: Streams that are open now.
        mute: Serve headers and then nothing at all.
        junk: Bytes to send in place of the next frame.
        content_type: Of the response.
    """

    def __init__(self, epoch: int = 7) -> None:
        self.epoch = epoch
        self.head = 0
        self.begun_unix_ns = time.time_ns()
        self.afters: list[str] = []
        self.open_streams = 0
        self.mute = False
        self.junk = b""
        self.content_type = FRAMES_CONTENT_TYPE
        self.port = 0
        self._more = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    def produce(self, count: int) -> None:
        """Have `count` more readings."""
        self.head += count
        more, self._more = self._more, asyncio.Event()
        more.set()

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close every stream and the port."""
        if self._server is not None:
            self._server.close()
            self.cut()
            await self._server.wait_closed()

    def cut(self) -> None:
        """Break every open stream off."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                await self._stream(head.split(b" ", 2)[1].decode(), reader, writer)
        finally:
            self._writers.discard(writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _stream(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        after = parse_qs(urlsplit(target).query).get("after", [""])[0]
        self.afters.append(after)
        epoch, seq = parse_after(after) if after else (self.epoch, 0)
        if epoch != self.epoch:
            seq = 0
        writer.write(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: "
            + self.content_type.encode()
            + b"\r\n\r\n"
        )
        self.open_streams += 1
        closed = asyncio.create_task(reader.read())
        try:
            while not closed.done():
                seq = await self._send(writer, seq)
                more = asyncio.create_task(self._more.wait())
                if seq < self.head:
                    more.cancel()
                    await asyncio.sleep(PACE_S)
                    continue
                await asyncio.wait({closed, more}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
                more.cancel()
        finally:
            self.open_streams -= 1
            closed.cancel()

    async def _send(self, writer: asyncio.StreamWriter, seq: int) -> int:
        """Send the next frame after `seq`, a heartbeat if there is none; return the new seq."""
        if self.mute:
            return seq
        if self.junk:
            data, self.junk = self.junk, b""
        elif seq < self.head:
            data, seq = body(self._readings(seq)), min(self.head, seq + FRAME_ROWS)
        else:
            beat = readings_pb2.Heartbeat(epoch=self.epoch, head_seq=self.head, time_unix_ns=time.time_ns())
            data = body(readings_pb2.Frame(heartbeat=beat))
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await writer.drain()
        return seq

    def _readings(self, after: int) -> readings_pb2.Frame:
        seqs = range(after + 1, min(self.head, after + FRAME_ROWS) + 1)
        return readings_pb2.Frame(
            readings=readings_pb2.ReadingBatch(
                epoch=self.epoch,
                first_seq=after + 1,
                count=len(seqs),
                series=[readings_pb2.Series(metric="temperature", unit="Cel")],
                series_index=[0] * len(seqs),
                time_unix_ns=[self.begun_unix_ns + seq * STEP_NS for seq in seqs],
                value=[float(seq) for seq in seqs],
            )
        )


@asynccontextmanager
async def scripted_agent(epoch: int = 7) -> AsyncIterator[ScriptedAgent]:
    """Return a running agent."""
    agent = ScriptedAgent(epoch)
    await agent.start()
    try:
        yield agent
    finally:
        await agent.stop()
