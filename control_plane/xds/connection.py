"""One open stream of a node, between the server's task and the cache."""

from __future__ import annotations

import asyncio
import contextlib

from control_plane.xds.node import Node
from control_plane.xds.services import AGGREGATED, Service
from control_plane.xds.session import Session


class Connection:
    """One stream of one node. `ended` says why the server must end it; None while it may go on."""

    def __init__(
        self, node: Node, since_unix_ns: int, session: Session, service: Service = AGGREGATED
    ) -> None:
        self.node = node
        self.since_unix_ns = since_unix_ns
        self.session = session
        self.service = service
        self.ended: str | None = None
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Have `wait` return: there may be something to send."""
        self._wake.set()

    def end(self, reason: str) -> None:
        """Have the server end the stream."""
        self.ended = reason
        self.wake()

    async def wait(self, timeout_s: float | None = None) -> None:
        """Return at the next `wake`, at once if there was one since, or after `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        self._wake.clear()
