"""A wire tap between a follower and its Envoy: every byte that Envoy sends is kept, and read as HTTP/2."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import hpack
from hyperframe.frame import DataFrame, Frame, HeadersFrame

_FRAME_HEAD = 9  # bytes: https://www.rfc-editor.org/rfc/rfc9113#section-4.1


class Tap:
    """Passes connections on to `port`; what came back is in `answers`, one for each connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.answers: list[bytearray] = []
        self.url = ""

    @property
    def streams(self) -> int:
        """How many requests were answered with 200."""
        return sum(len(bodies_of(answer)) for answer in self.answers)

    @property
    def leaked(self) -> list[bytes]:
        """What came after the head of any answer of 200."""
        bodies = (body for answer in self.answers for body in bodies_of(answer).values())
        return [bytes(body) for body in bodies if body]

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


def bodies_of(answer: bytearray) -> dict[int, bytearray]:
    """Return the body of every answer of 200 on a connection, by stream."""
    decoder = hpack.Decoder()
    bodies: dict[int, bytearray] = {}
    at = 0
    while at + _FRAME_HEAD <= len(answer):
        frame, length = Frame.parse_frame_header(memoryview(answer)[at : at + _FRAME_HEAD])
        begin, at = at + _FRAME_HEAD, at + _FRAME_HEAD + length
        if at > len(answer):
            break  # cut in mid-frame
        frame.parse_body(memoryview(answer)[begin:at])
        if isinstance(frame, HeadersFrame):
            assert "END_HEADERS" in frame.flags, "heads this long were never seen"
            head = {str(name): str(value) for name, value in decoder.decode(frame.data)}
            if head[":status"] == "200":
                bodies[frame.stream_id] = bytearray()
        elif isinstance(frame, DataFrame) and frame.stream_id in bodies:
            bodies[frame.stream_id] += frame.data
    return bodies


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
