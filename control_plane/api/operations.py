"""For those who run it: health, metrics, the OpenAPI document, what each problem means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from control_plane.api.answers import json_answer, text_answer
from control_plane.api.models import Alive, Ready
from control_plane.api.ports import Info
from control_plane.api.problems import NOT_FOUND, NOT_READY, PROBLEMS, STANDBY, ProblemError
from control_plane.api.routes import Parameter, Reply, Route

TAG: Final = "operations"


@dataclass(slots=True)
class Operations:
    """Handlers that need no token. `document` is the OpenAPI document, set once all routes are known."""

    registry: CollectorRegistry
    info: Info
    document: bytes = field(default=b"{}")

    def routes(self) -> tuple[Route, ...]:
        """Return the routes that these handlers serve."""
        slug = Parameter(
            "slug", "Last part of a problem's type.", {"type": "string", "enum": sorted(PROBLEMS)}
        )
        return (
            Route(
                "GET",
                "/healthz",
                self.healthz,
                "showHealth",
                "Is the process alive?",
                TAG,
                (Reply(200, "It is.", Alive),),
                open=True,
            ),
            Route(
                "GET",
                "/readyz",
                self.readyz,
                "showReadiness",
                "Does the control plane serve?",
                TAG,
                (Reply(200, "It does.", Ready),),
                problems=(NOT_READY, STANDBY),
                open=True,
            ),
            Route(
                "GET",
                "/metrics",
                self.metrics,
                "showMetrics",
                "Counters for Prometheus",
                TAG,
                (Reply(200, "In Prometheus's text format.", media_type="text/plain"),),
                open=True,
            ),
            Route(
                "GET",
                "/v1/openapi.json",
                self.openapi,
                "showOpenapi",
                "This document",
                TAG,
                (Reply(200, "OpenAPI 3.1.", media_type="application/json"),),
                open=True,
            ),
            Route(
                "GET",
                "/problems/{slug}",
                self.problem,
                "explainProblem",
                "What a type of problem means",
                TAG,
                (Reply(200, "In a few sentences.", media_type="text/plain"),),
                problems=(NOT_FOUND,),
                parameters=(slug,),
                open=True,
            ),
        )

    async def healthz(self, _: web.Request) -> web.Response:
        """Answer, which is all there is to prove."""
        return json_answer(Alive())

    async def readyz(self, _: web.Request) -> web.Response:
        """Answer that all is ready, or what is not."""
        missing = self.info.missing()
        if missing:
            raise ProblemError(NOT_READY, "; ".join(missing), headers={"Retry-After": "1"})
        return json_answer(Ready())

    async def metrics(self, _: web.Request) -> web.Response:
        """Answer with the registry's counters."""
        return web.Response(
            body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def openapi(self, _: web.Request) -> web.Response:
        """Answer with the document."""
        return web.Response(body=self.document, content_type="application/json")

    async def problem(self, request: web.Request) -> web.Response:
        """Explain a type of problem."""
        kind = PROBLEMS.get(request.match_info["slug"])
        if kind is None:
            raise ProblemError(NOT_FOUND, f"no problem is called {request.match_info['slug']}")
        return text_answer(f"{kind.title}\n\nHTTP status {kind.status}\n\n{kind.meaning}\n")
