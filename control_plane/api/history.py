"""Windows of the past."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from aiohttp import web

from control_plane.api.answers import json_answer
from control_plane.api.models import Window, WindowList, WindowsQuery
from control_plane.api.ports import FleetPort, History
from control_plane.api.problems import NO_HISTORY, NOT_FOUND, FieldError, ProblemError, invalid
from control_plane.api.requests import QUERY
from control_plane.api.routes import Reply, Route
from control_plane.api.sensors import SENSOR_ID, TAG, find_sensor
from control_plane.api.times import moment_ns, size_ms


@dataclass(frozen=True, slots=True)
class HistoryRoutes:
    """Handlers of a sensor's windows; `history` is None where no store keeps them."""

    fleet: FleetPort
    history: History | None
    now_unix_ns: Callable[[], int] = time.time_ns

    def routes(self) -> tuple[Route, ...]:
        """Return the routes that these handlers serve."""
        return (
            Route(
                "GET",
                "/v1/sensors/{id}/windows",
                self.windows,
                "listWindows",
                "List windows of the past",
                TAG,
                (Reply(200, "The newest windows that were asked for, newest last.", WindowList),),
                problems=(NOT_FOUND, NO_HISTORY),
                parameters=(SENSOR_ID,),
                query=WindowsQuery,
                description="From the local warehouse, highest revisions. Windows of 10 s and 60 s are kept; "
                "a window is there some seconds after it closed.",
            ),
        )

    async def windows(self, request: web.Request) -> web.Response:
        """Answer with windows of one metric."""
        query = cast("WindowsQuery", request[QUERY])
        view = find_sensor(self.fleet, request.match_info["id"])
        if self.history is None:
            raise ProblemError(NO_HISTORY, NO_HISTORY.meaning)
        metrics = [metric.name for metric in view.metrics]
        if query.metric not in metrics:
            rule = f"must be one of the sensor's: {', '.join(metrics)}"
            raise invalid([FieldError(field="metric", rule=rule)])
        now = self.now_unix_ns()
        since = moment_ns(query.since, now)
        until = now if query.until is None else moment_ns(query.until, now)
        if until < since:
            raise invalid([FieldError(field="until", rule="must not be before since")])
        rows = await self.history.windows(
            view.id,
            query.metric,
            size_ms(query.size),
            since_unix_ns=since,
            until_unix_ns=until,
            limit=query.limit,
        )
        return json_answer(WindowList(windows=[Window.model_validate(row) for row in rows]))
