"""Live windows for whoever looks: one subscription a sensor, however many look.

Workers make live windows of those sensors only at which somebody looks, so it
is said every LIVE_WATCH_S, and at once by the first who looks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from prometheus_client import CollectorRegistry, Counter

from wire.names import EVERY_SENSOR, LIVE_WATCH_S, LIVE_WATCH_SUBJECT, live_subject

QUEUED: Final = 256  # messages that wait for one who looks; beyond it the oldest go


class _Channel:
    """One subject, and the queues of those who look at it."""

    def __init__(self, dropped: Counter) -> None:
        self.queues: set[asyncio.Queue[bytes]] = set()
        self.subscription: Subscription | None = None
        self.announcing: asyncio.Task[None] | None = None
        self._dropped = dropped

    async def take(self, message: Msg) -> None:
        """Give a message to everybody; nobody is waited for."""
        for queue in self.queues:
            if queue.full():
                queue.get_nowait()
                self._dropped.inc()
            queue.put_nowait(message.data)


class LiveWindowsFeed:
    """Fans live windows out."""

    def __init__(self, client: Client, registry: CollectorRegistry) -> None:
        self._client = client
        self._channels: dict[str, _Channel] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._dropped = Counter(
            "gaugeway_live_windows_dropped",
            "Live windows that somebody who looked was too slow for.",
            registry=registry,
        )

    @contextlib.asynccontextmanager
    async def windows(self, sensor_ids: Sequence[str]) -> AsyncIterator[AsyncIterator[bytes]]:
        """Subscribe to the sensors, to all if none is named; yields wire.status.LiveWindows as JSON."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUED)
        subjects = [live_subject(sensor_id) for sensor_id in dict.fromkeys(sensor_ids)] or [
            live_subject(EVERY_SENSOR)
        ]
        messages = _each(queue)
        try:
            for subject in subjects:
                await self._join(subject, queue)
            yield messages
        finally:
            for subject in subjects:
                self._leave(subject, queue)
            await messages.aclose()

    async def _join(self, subject: str, queue: asyncio.Queue[bytes]) -> None:
        channel = self._channels.get(subject)
        if channel is not None:
            channel.queues.add(queue)
            return
        channel = self._channels[subject] = _Channel(self._dropped)
        channel.queues.add(queue)
        channel.subscription = await self._client.subscribe(subject, cb=channel.take)
        if not channel.queues:  # everybody left meanwhile
            await channel.subscription.unsubscribe()
            return
        channel.announcing = asyncio.create_task(_announce(self._client, subject))

    def _leave(self, subject: str, queue: asyncio.Queue[bytes]) -> None:
        channel = self._channels.get(subject)
        if channel is None or queue not in channel.queues:
            return
        channel.queues.discard(queue)
        if channel.queues:
            return
        del self._channels[subject]
        if channel.announcing is not None:
            channel.announcing.cancel()
        if channel.subscription is not None:
            task = asyncio.create_task(_unsubscribe(channel.subscription))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)


async def _each(queue: asyncio.Queue[bytes]) -> AsyncGenerator[bytes, None]:
    while True:
        yield await queue.get()


async def _announce(client: Client, subject: str) -> None:
    """Say that a subject of live windows is looked at, until cancelled."""
    sensor_id = subject.removeprefix(live_subject(""))
    while True:
        with contextlib.suppress(nats.errors.Error):  # while it is away, nothing is published anyway
            await client.publish(LIVE_WATCH_SUBJECT, sensor_id.encode())
        await asyncio.sleep(LIVE_WATCH_S)


async def _unsubscribe(subscription: Subscription) -> None:
    with contextlib.suppress(nats.errors.Error):  # the connection is gone, and the subscription with it
        await subscription.unsubscribe()
