"""The two event streams: windows as they close, and the fleet as it changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, cast

from aiohttp import web

from control_plane.api.events import MEDIA_TYPE, EventStream, EventStreams
from control_plane.api.models import LiveWindowsQuery, SensorsEvent, SensorSummary
from control_plane.api.ports import FleetPort
from control_plane.api.problems import NOT_FOUND, TOO_MANY_STREAMS
from control_plane.api.requests import QUERY
from control_plane.api.routes import Reply, Route
from control_plane.api.sensors import find_sensor
from control_plane.model import SensorView

TAG: Final = "live"
PACE_S: Final = 1.0
WAIT_CHANGE_S: Final = 30.0


class Live:
    """Handlers of /v1/live."""

    def __init__(self, fleet: FleetPort, streams: EventStreams) -> None:
        self._fleet = fleet
        self._streams = streams
        self._summary = (0, b"")  # version and event: made once for all clients
        self._summing = asyncio.Lock()

    def routes(self) -> tuple[Route, ...]:
        """Return the routes that these handlers serve."""
        return (
            Route(
                "GET",
                "/v1/live/sensors",
                self.sensors,
                "followSensors",
                "Follow the fleet",
                TAG,
                (Reply(200, "Events `sensors` (SensorsEvent), until one side ends.", media_type=MEDIA_TYPE),),
                problems=(TOO_MANY_STREAMS,),
                description="One event at once, then one after changes, at most one a second.",
                stream=True,
            ),
            Route(
                "GET",
                "/v1/live/windows",
                self.windows,
                "followWindows",
                "Follow windows of sensors",
                TAG,
                (Reply(200, "Events `windows` (LiveWindows), until one side ends.", media_type=MEDIA_TYPE),),
                problems=(NOT_FOUND, TOO_MANY_STREAMS),
                query=LiveWindowsQuery,
                description="Windows of every size as they close. A client that is slow loses the oldest.",
                stream=True,
            ),
        )

    async def sensors(self, request: web.Request) -> web.StreamResponse:
        """Send the fleet now and whenever it has changed."""
        return await self._streams.serve(request, self._follow_sensors)

    async def _follow_sensors(self, stream: EventStream) -> None:
        version = await self._fleet.wait_change(0, 0)
        sent = b""
        while True:
            event = await self._sensors_event(version)
            if event != sent:
                await stream.send("sensors", event)
                sent = event
            await stream.wait(asyncio.sleep(PACE_S))
            version = await stream.wait(self._fleet.wait_change(version, WAIT_CHANGE_S))

    async def windows(self, request: web.Request) -> web.StreamResponse:
        """Send windows of the sensors as they close."""
        query = cast("LiveWindowsQuery", request[QUERY])
        for sensor_id in query.sensor:
            find_sensor(self._fleet, sensor_id)

        async def feed(stream: EventStream) -> None:
            async with self._fleet.live_windows(query.sensor) as messages:
                while (message := await stream.wait(_next(messages))) is not None:
                    await stream.send("windows", message)

        return await self._streams.serve(request, feed)

    async def _sensors_event(self, version: int) -> bytes:
        async with self._summing:
            if self._summary[0] != version:
                views = sorted(await self._fleet.sensors(), key=lambda view: view.id)
                event = SensorsEvent(sensors=[_summary(view) for view in views])
                self._summary = (version, event.model_dump_json().encode())
            return self._summary[1]


async def _next(messages: AsyncIterator[bytes]) -> bytes | None:
    """Return the next message, None after the last."""
    return await anext(messages, None)


def _summary(view: SensorView) -> SensorSummary:
    return SensorSummary(
        id=view.id,
        site=view.site,
        host=view.host,
        status=view.status,
        message=view.message,
        readings_per_s=view.stream.readings_per_s if view.stream else 0.0,
        metrics=[metric.name for metric in view.metrics],
    )
