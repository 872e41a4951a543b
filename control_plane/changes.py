"""A count of changes that can be waited for. For one asyncio loop."""

from __future__ import annotations

import asyncio
import contextlib


class Changes:
    """Counts from 1. No change between two waits is missed."""

    def __init__(self) -> None:
        self.count = 1
        self._changed = asyncio.Event()

    def note(self) -> None:
        """Count a change."""
        self.count += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def wait(self, after: int, timeout_s: float) -> int:
        """Return the count once it is above `after`, or after `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.count <= after:
                    await self._changed.wait()
        return self.count
