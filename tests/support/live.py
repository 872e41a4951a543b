"""Looking at live windows, as the control plane does: workers make none that nobody looks at."""

from __future__ import annotations

import asyncio

from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from control_plane.observe.live_windows import LiveWindowsFeed
from wire.status import LiveWindows


async def first_live_windows(client: Client, sensor_id: str, within_s: float = 20.0) -> LiveWindows:
    """Return the first live windows of a sensor from now on."""
    feed = LiveWindowsFeed(client, CollectorRegistry())
    async with asyncio.timeout(within_s), feed.windows([sensor_id]) as messages:
        return LiveWindows.model_validate_json(await anext(messages))
