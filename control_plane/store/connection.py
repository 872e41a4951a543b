"""The connection to NATS: it comes back by itself, and whoever watches is told."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import nats
import nats.errors
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext

log = structlog.get_logger(__name__)

CONNECT_RETRY_S: Final = 0.25
REQUEST_TIMEOUT_S: Final = 3.0
CLOSE_S: Final = 1.0
SAY_S: Final = 5.0  # the same trouble is said this often at most


def sentence(error: BaseException) -> str:
    """Return what went wrong in words; some of the client's errors have none but their name."""
    if isinstance(error, nats.errors.OutboundBufferLimitError):
        return "NATS is away"  # we have the client keep nothing for later
    text = str(error)
    return text.removeprefix("nats: ") if text else type(error).__name__


class Connection:
    """A connection, kept.

    Attributes:
        client: The client. Nothing is buffered in it while the server is away:
            a write that is sent later than its caller believes is one that nobody expects.
        js: JetStream over it.
    """

    def __init__(self, client: Client, listeners: list[Callable[[], None]]) -> None:
        self.client = client
        self.js: JetStreamContext = client.jetstream(timeout=REQUEST_TIMEOUT_S)
        self._listeners = listeners

    @property
    def up(self) -> bool:
        """Whether the server is there."""
        return bool(self.client.is_connected)

    def on_reconnect(self, listener: Callable[[], None]) -> None:
        """Have `listener` called each time the server came back."""
        self._listeners.append(listener)


@contextlib.asynccontextmanager
async def nats_connection(url: str, name: str) -> AsyncIterator[Connection]:
    """Return a connection, as soon as there is a server; says what it waits for."""
    listeners: list[Callable[[], None]] = []

    said: dict[str, float] = {}  # reason: when, monotonic seconds

    async def on_error(error: Exception) -> None:
        reason, now = sentence(error), time.monotonic()
        if now - said.get(reason, -SAY_S) >= SAY_S:
            said.clear()
            said[reason] = now
            log.warning("nats_trouble", url=url, reason=reason)

    async def on_reconnect() -> None:
        log.info("nats_back", url=url)
        for listener in listeners:
            listener()

    async def on_disconnect() -> None:
        log.warning("nats_away", url=url)

    while True:
        try:
            client = await nats.connect(
                url.split(","),
                name=name,
                error_cb=on_error,
                reconnected_cb=on_reconnect,
                disconnected_cb=on_disconnect,
                max_reconnect_attempts=-1,
                reconnect_time_wait=CONNECT_RETRY_S,
                pending_size=0,
                connect_timeout=2,
            )
            break
        except (nats.errors.Error, OSError, TimeoutError) as error:
            await on_error(error)
            await asyncio.sleep(CONNECT_RETRY_S)
    try:
        yield Connection(client, listeners)
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await client.close()
