"""A device that speaks SenML over plain HTTP: it keeps nothing, and numbers nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from wire.names import SENSML_CONTENT_TYPE


class SenmlDevice:
    """Answers every GET with what `send` is given (a stream), or with what `answer` returns.

    Attributes:
        content_type: Of the responses.
        answer: Makes a whole response; None: responses never end.
        accepts: The Accept header of every request.
        open_streams: Streams that are open now.
    """

    def __init__(self) -> None:
        self.content_type = SENSML_CONTENT_TYPE
        self.answer: Callable[[], bytes] | None = None
        self.accepts: list[str] = []
        self.open_streams = 0
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on 127.0.0.1."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close every stream and the port."""
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    async def send(self, data: bytes, piece: int = 7) -> None:
        """Send `data` on every open stream, as chunks of a few bytes."""
        for writer in self._writers:
            for start in range(0, len(data), piece):
                part = data[start : start + piece]
                writer.write(b"%x\r\n%s\r\n" % (len(part), part))
                await writer.drain()

    async def end(self) -> None:
        """End every open response in order."""
        for writer in self._writers:
            writer.write(b"0\r\n\r\n")
            await writer.drain()

    def cut(self) -> None:
        """Break every open stream off."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._exchange(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode().lower().splitlines()
            self.accepts += [line.partition(": ")[2] for line in lines if line.startswith("accept:")]
            kind = f"HTTP/1.1 200 OK\r\nContent-Type: {self.content_type}\r\n".encode()
            if self.answer is not None:
                answer = self.answer()
                writer.write(kind + b"Content-Length: %d\r\n\r\n" % len(answer) + answer)
                await writer.drain()
                continue
            writer.write(kind + b"Transfer-Encoding: chunked\r\n\r\n")
            self._writers.add(writer)
            self.open_streams += 1
            try:
                await reader.read()
            finally:
                self.open_streams -= 1
                self._writers.discard(writer)
            return


@asynccontextmanager
async def senml_device() -> AsyncIterator[SenmlDevice]:
    """Return a running device."""
    device = SenmlDevice()
    await device.start()
    try:
        yield device
    finally:
        await device.stop()
