"""A wire tap between a follower and its Envoy: every byte that Envoy sends is kept."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

_END_OF_HEAD = b"\r\n\r\n"


class Tap:
    """Passes connections on to `port`; what came back is in `answers`, one for each connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.answers: list[bytearray] = []
        self.url = ""

    @property
    def streams(self) -> int:
        """How many connections were answered with 200."""
        return sum(answer.startswith(b"HTTP/1.1 200") for answer in self.answers)

    @property
    def leaked(self) -> list[bytes]:
        """What came after the head of any answer of 200."""
        bodies = [
            bytes(answer.partition(_END_OF_HEAD)[2])
            for answer in self.answers
            if answer.startswith(b"HTTP/1.1 200")
        ]
        return [body for body in bodies if body]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on, both ways, until either end is gone."""
        answer = bytearray()
        self.answers.append(answer)
        with contextlib.suppress(ConnectionError):
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._port)
            ways = (
                asyncio.create_task(_pass(reader, upstream_writer, bytearray())),
                asyncio.create_task(_pass(upstream_reader, writer, answer)),
            )
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            upstream_writer.close()
            writer.close()
            await asyncio.gather(*ways, return_exceptions=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    while data := await reader.read(65_536):
        kept += data
        writer.write(data)
        await writer.drain()


@asynccontextmanager
async def tap(url: str) -> AsyncIterator[Tap]:
    """Return a tap of what listens at `url`."""
    tapped = Tap(urlsplit(url).port or 0)
    server = await asyncio.start_server(tapped.serve, "127.0.0.1", 0)
    tapped.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield tapped
    finally:
        server.close()
