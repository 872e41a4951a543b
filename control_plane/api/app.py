"""The application: every route behind its guard, and what surrounds them."""

from __future__ import annotations

import json
from typing import Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry

from control_plane.api.events import EventStreams
from control_plane.api.guard import Guard
from control_plane.api.history import HistoryRoutes
from control_plane.api.live import Live
from control_plane.api.middleware import add_headers, counting, problems
from control_plane.api.nodes import Nodes
from control_plane.api.openapi import document
from control_plane.api.operations import Operations
from control_plane.api.pages import Pages
from control_plane.api.ports import Accounts, FleetPort, History, Info, RulesPort
from control_plane.api.requests import MAX_BODY_BYTES
from control_plane.api.routes import register
from control_plane.api.rules import Rules
from control_plane.api.sensors import Sensors
from control_plane.api.views import Views


class Everything(FleetPort, RulesPort, Protocol):
    """Sensors and rules, from one hand."""


def make_app(
    fleet: Everything,
    accounts: Accounts,
    history: History | None,
    registry: CollectorRegistry,
    info: Info,
) -> web.Application:
    """Return the API and the web page, for the caller to serve.

    Run it with a short `shutdown_timeout`: event streams end by themselves when
    the application shuts down.

    Args:
        fleet: Desired and observed state, rules and events.
        accounts: Tokens, audit, idempotency keys.
        history: Windows of the past; None if this installation keeps none.
        registry: What /metrics shows; the API's own counters are added to it.
        info: What the API tells of the installation.
    """
    streams = EventStreams(registry)
    operations = Operations(registry, info)
    table = [
        *Sensors(fleet, accounts).routes(),
        *Rules(fleet, accounts).routes(),
        *HistoryRoutes(fleet, history).routes(),
        *Views(fleet, info).routes(),
        *Nodes(fleet).routes(),
        *Live(fleet, streams).routes(),
        *operations.routes(),
        *Pages().routes(),
    ]
    operations.document = json.dumps(document(table, info.version)).encode()

    app = web.Application(middlewares=[counting(registry), problems], client_max_size=MAX_BODY_BYTES)
    register(app.router, table, Guard(accounts, info.token_file))
    app.on_response_prepare.append(add_headers)
    app.on_shutdown.append(streams.close)
    return app
