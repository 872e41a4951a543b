"""What a control plane answers that does not lead: that it is alive, and who leads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from control_plane.api.answers import json_answer
from control_plane.api.middleware import Handler, add_headers
from control_plane.api.models import Alive
from control_plane.api.problems import STANDBY, ProblemError

_SOON: Final = {"Retry-After": "1"}


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads, and where it answers."""

    replica: str
    api_url: str


def make_standby_app(replica: str, leader: Callable[[], Leader | None]) -> web.Application:
    """Return the application of a standby. `leader` says who leads now; None: nobody, or nobody knows."""

    async def alive(_: web.Request) -> web.Response:
        return json_answer(Alive())

    async def refuse(_: web.Request) -> web.Response:
        return _stands_by(replica, leader())

    app = web.Application()
    app.router.add_get("/healthz", alive)
    app.router.add_route("*", "/{path:.*}", refuse)
    app.on_response_prepare.append(add_headers)
    return app


def while_leading(replica: str, leads: Callable[[], bool]) -> Middleware:
    """Return a middleware that lets requests through only while this control plane leads."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await handler(request) if leads() else _stands_by(replica, None)

    return check


def _stands_by(replica: str, leader: Leader | None) -> web.Response:
    who = "no replica leads at present" if leader is None else f"{leader.replica} leads, at {leader.api_url}"
    return ProblemError(STANDBY, f"replica {replica} stands by; {who}", headers=_SOON).response()
