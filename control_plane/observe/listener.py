"""Listens to the statuses of workers and sinks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError

from control_plane.observe.board import StatusBoard
from wire.names import sink_status_subject, worker_status_subject

log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def listening(client: Client, board: StatusBoard, changed: Callable[[], None]) -> AsyncIterator[None]:
    """Note on `board` what is said, and call `changed` after it, within the context."""
    loop = asyncio.get_running_loop()

    async def worker_said(message: Msg) -> None:
        board.worker_said(message.subject.rpartition(".")[2], message.data, loop.time())
        changed()

    async def sink_said(message: Msg) -> None:
        try:
            board.sink_said(message.data, loop.time())
        except ValidationError as error:
            log.warning("status_unreadable", subject=message.subject, reason=str(error))
        else:
            changed()

    subscriptions = [
        await client.subscribe(worker_status_subject("*"), cb=worker_said),
        await client.subscribe(sink_status_subject("*"), cb=sink_said),
    ]
    try:
        yield
    finally:
        for subscription in subscriptions:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()
