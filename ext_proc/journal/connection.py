"""The connection to NATS that the journal's writers and readers share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import nats
import nats.errors
import structlog
from nats.aio.client import Client

from ext_proc.journal.append import sentence

log = structlog.get_logger(__name__)

CONNECT_RETRY_S: Final = 0.25
CLOSE_S: Final = 1.0


@contextlib.asynccontextmanager
async def nats_client(url: str, name: str) -> AsyncIterator[Client]:
    """Return a connection that comes back by itself, however long the server is away.

    Nothing is buffered while it is away: an append that is sent later than its
    caller believes would be one that nobody settles.
    """

    async def on_error(error: Exception) -> None:
        log.info("nats_trouble", reason=sentence(error))

    while True:
        try:
            client = await nats.connect(
                url.split(","),
                name=name,
                error_cb=on_error,
                max_reconnect_attempts=-1,
                reconnect_time_wait=CONNECT_RETRY_S,
                pending_size=0,
                connect_timeout=2,
            )
            break
        except (nats.errors.Error, OSError, TimeoutError) as error:
            log.info("nats_away", reason=sentence(error))
            await asyncio.sleep(CONNECT_RETRY_S)
    try:
        yield client
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await client.close()
