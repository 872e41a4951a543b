"""The agent's HTTP/1.1 server: GET only, one response a connection.

A web framework takes longer to import than the rest of the agent, and a host
starts many agents at once; what a stream needs of HTTP is on this page
(RFC 9112). Its peer is Envoy.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, urlsplit

_MAX_HEAD_BYTES: Final = 16_384
_HEAD_TIMEOUT_S: Final = 20.0
_REQUEST_LINE_WORDS: Final = 3


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; a body that comes piece by piece is sent in chunks and ends with its generator."""

    status: HTTPStatus
    content_type: str
    body: bytes | AsyncGenerator[bytes]


Query = Mapping[str, str]
Handler = Callable[[Query], Awaitable[Response]]


def json_response(value: object) -> Response:
    """Return `value` as JSON."""
    return Response(HTTPStatus.OK, "application/json", json.dumps(value).encode())


def problem(status: HTTPStatus, detail: str) -> Response:
    """Return an error as RFC 9457 has it."""
    value = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    return Response(status, "application/problem+json", json.dumps(value).encode())


class HttpServer:
    """Serves `routes` (path to handler) at one address at a time."""

    def __init__(self, routes: Mapping[str, Handler]) -> None:
        self._routes = routes
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def listen(self, address: str, port: int) -> int:
        """Serve at `address` and nowhere else from now on; open connections stay. Returns the port.

        A busy port is replaced by a free one. Raises OSError if the address is not this machine's;
        then everything stays as it was.
        """
        before = self._server
        try:
            self._server = await self._bind(address, port)
        except OSError:
            self._server = await self._bind(address, 0)
        if before is not None:
            before.close()
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop serving and cut every connection off."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _bind(self, address: str, port: int) -> asyncio.Server:
        return await asyncio.start_server(self._accept, address, port, limit=_MAX_HEAD_BYTES)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request. A peer that goes away is no error."""
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
                await _send(writer, await self._answer(reader))
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()  # what was not ended above is cut, and looks so to the peer

    async def _answer(self, reader: asyncio.StreamReader) -> Response:
        try:
            async with asyncio.timeout(_HEAD_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return problem(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"a request has at most {_MAX_HEAD_BYTES} bytes"
            )
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(words) != _REQUEST_LINE_WORDS or words[2] != "HTTP/1.1":
            return problem(HTTPStatus.BAD_REQUEST, "a request begins with `GET <path> HTTP/1.1`")
        method, target, _ = words
        try:
            url = urlsplit(target)
        except ValueError as error:
            return problem(HTTPStatus.BAD_REQUEST, f"the request's target is no URL: {error}")
        handler = self._routes.get(url.path)
        if handler is None:
            return problem(HTTPStatus.NOT_FOUND, f"there is nothing at {url.path}")
        if method != "GET":
            return problem(HTTPStatus.METHOD_NOT_ALLOWED, f"{url.path} takes GET only")
        return await handler(dict(parse_qsl(url.query, keep_blank_values=True)))


async def _send(writer: asyncio.StreamWriter, response: Response) -> None:
    """Write a response; the connection ends with it."""
    status, body = response.status, response.body
    framing = f"Content-Length: {len(body)}" if isinstance(body, bytes) else "Transfer-Encoding: chunked"
    writer.write(
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {response.content_type}\r\n"
        f"{framing}\r\nConnection: close\r\n\r\n".encode()
    )
    if isinstance(body, bytes):
        writer.write(body)
        await writer.drain()
        return
    async with contextlib.aclosing(body) as pieces:
        async for piece in pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()
