"""Something learnt while starting that others wait for: an address, a port."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Fact(Generic[T]):
    """A value that becomes known once and stays: restarts keep to it."""

    def __init__(self) -> None:
        self._future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def learn(self, value: T) -> None:
        """Set the value; nothing happens if it is known."""
        if not self._future.done():
            self._future.set_result(value)

    def known(self) -> T | None:
        """Return the value, None if it is not known yet."""
        return self._future.result() if self._future.done() else None

    async def value(self) -> T:
        """Wait for the value."""
        return await asyncio.shield(self._future)
