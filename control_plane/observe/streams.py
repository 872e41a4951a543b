"""The open streams of a gRPC service: so many at most, and all ended when it closes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import grpc.aio


class StreamsFullError(Exception):
    """No more streams are taken; the text says so."""


class OpenStreams:
    """Counts streams, and has their reads return when the service closes.

    Without that a server that stops would wait out its grace for clients which
    never end by themselves.

    Attributes:
        closing: Whether the service is closing.
    """

    def __init__(self, limit: int) -> None:
        self.closing = False
        self._limit = limit
        self._open = 0
        self._reads: set[asyncio.Future[Any]] = set()

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Count a stream in. Raises StreamsFullError."""
        if self._open >= self._limit:
            raise StreamsFullError(f"{self._limit} streams are open, as many as this server takes")
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def read(self, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """Return a stream's next message; None when its client has ended it, or the service closes."""
        if self.closing:
            return None
        reading = asyncio.ensure_future(context.read())
        self._reads.add(reading)
        try:
            message = await asyncio.shield(reading)
        except asyncio.CancelledError:
            if reading.cancelled():  # by close
                return None
            reading.cancel()
            raise
        finally:
            self._reads.discard(reading)
        return None if message is grpc.aio.EOF else message  # type: ignore[attr-defined]  # a gap in the stubs

    def close(self) -> None:
        """Have every read return."""
        self.closing = True
        for reading in self._reads:
            reading.cancel()
