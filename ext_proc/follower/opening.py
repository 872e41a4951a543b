"""How many streams are being opened at once: as many as the worker keeps up with."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

MOST_OPENING: Final = 128
OPENING_S: Final = 2.0  # a VM that does not answer keeps the others waiting no longer


class Opening:
    """A place among the streams that are being opened, held until ext_proc has shown the stream.

    Without a bound, opens that come faster than the worker takes them all wait
    until they are given up, and are made again: then it never gets through any.
    """

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._expiry: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self._places.acquire()
        self._expiry = asyncio.get_running_loop().call_later(OPENING_S, self.done)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.done()

    def done(self) -> None:
        """Give the place to another; nothing to do if that was done."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
            self._places.release()
