"""What stands before every handler: the token, and the query's rules."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from control_plane.api.models import NoQuery
from control_plane.api.ports import Accounts, Principal
from control_plane.api.problems import UNAUTHORIZED, ProblemError
from control_plane.api.requests import PRINCIPAL, QUERY, read_query
from control_plane.api.routes import Handler, Route

_REALM: Final = 'Bearer realm="gaugeway"'
_MAX_TOKEN: Final = 512


class Guard:
    """Lets requests through to their handlers, with PRINCIPAL and QUERY set."""

    def __init__(self, accounts: Accounts, token_file: str) -> None:
        self._accounts = accounts
        self._where = f" The operator finds it in {token_file}." if token_file else ""

    def __call__(self, route: Route) -> Handler:
        """Return the route's handler behind this guard."""
        model = route.query or NoQuery

        async def guarded(request: web.Request) -> web.StreamResponse:
            if not route.open:
                request[PRINCIPAL] = await self._authenticate(request)
            request[QUERY] = read_query(request, model)
            return await route.handler(request)

        return guarded

    async def _authenticate(self, request: web.Request) -> Principal:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise ProblemError(
                UNAUTHORIZED,
                f"The request has no bearer token.{self._where}",
                headers={"WWW-Authenticate": _REALM},
            )
        possible = len(token) <= _MAX_TOKEN and token.isascii()
        principal = await self._accounts.authenticate(token) if possible else None
        if principal is None:
            raise ProblemError(
                UNAUTHORIZED,
                f"The token is not one of this installation.{self._where}",
                headers={"WWW-Authenticate": f'{_REALM}, error="invalid_token"'},
            )
        return principal
