"""Server-sent events: how a stream is kept open, and how each ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge

from control_plane.api.problems import TOO_MANY_STREAMS, ProblemError

MEDIA_TYPE: Final = "text/event-stream"
HEARTBEAT_S: Final = 5.0
WRITE_S: Final = 20.0  # a client that takes nothing for so long is cut off
MAX_STREAMS: Final = 256

_KEEPALIVE: Final = b": keepalive\n\n"
_HEADERS: Final = {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}

T = TypeVar("T")


class StreamEndedError(Exception):
    """The control plane is stopping, or the client has left."""


class EventStreams:
    """All open event streams of one application."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._closing = asyncio.Event()
        self._open = 0
        self._gauge = Gauge("gaugeway_api_event_streams", "Event streams that are open.", registry=registry)

    async def close(self, _: web.Application) -> None:
        """End every stream in order (on_shutdown)."""
        self._closing.set()

    async def serve(
        self, request: web.Request, feed: Callable[[EventStream], Awaitable[None]]
    ) -> web.StreamResponse:
        """Answer `request` with the event stream that `feed` fills.

        It ends when `feed` returns, the client leaves, or the control plane
        stops. Raises ProblemError when too many are open.
        """
        if self._open >= MAX_STREAMS:
            raise ProblemError(
                TOO_MANY_STREAMS, f"{MAX_STREAMS} event streams are open", headers={"Retry-After": "5"}
            )
        self._open += 1
        self._gauge.inc()
        try:
            response = web.StreamResponse(headers=_HEADERS)
            await response.prepare(request)
            with contextlib.suppress(StreamEndedError, ConnectionError):
                await feed(EventStream(response, self._closing))
        finally:
            self._open -= 1
            self._gauge.dec()
        return response


class EventStream:
    """One client's stream."""

    def __init__(self, response: web.StreamResponse, closing: asyncio.Event) -> None:
        self._response = response
        self._closing = closing

    async def send(self, event: str, data: bytes) -> None:
        """Send an event; `data` is JSON on one line. Raises StreamEndedError, ConnectionError."""
        await self._write(b"event: %s\ndata: %s\n\n" % (event.encode(), data))

    async def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns; until then keep the stream alive.

        Raises:
            StreamEndedError: The control plane is stopping.
            ConnectionError: The client has left.
        """
        task = asyncio.create_task(work)
        closing = asyncio.create_task(self._closing.wait())
        try:
            while True:
                await asyncio.wait({task, closing}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
                if self._closing.is_set():
                    raise StreamEndedError
                if task.done():
                    return task.result()
                await self._write(_KEEPALIVE)
        finally:
            closing.cancel()
            task.cancel()
            await asyncio.wait({task, closing})

    async def _write(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(WRITE_S):
                await self._response.write(data)
        except TimeoutError as error:
            raise StreamEndedError from error
