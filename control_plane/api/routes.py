"""The form of the route table: aiohttp's routes and the OpenAPI document are both made from it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web
from pydantic import BaseModel

from control_plane.api.problems import ProblemType

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
JsonSchema = Mapping[str, object]

_PARAMETER: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is no problem.

    Attributes:
        status: Its HTTP status.
        description: What it means.
        model: Of a JSON body.
        media_type: Of a body that is not JSON.
        headers: By name, what each says.
    """

    status: int
    description: str
    model: type[BaseModel] | None = None
    media_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A path parameter or request header."""

    name: str
    description: str
    schema: JsonSchema


@dataclass(frozen=True, slots=True)
class Route:
    """One operation.

    Attributes:
        method: GET, POST, PUT or DELETE.
        path: With parameters as `{name}`.
        handler: What serves it.
        name: The operation's id.
        summary: A few words.
        tag: The group it is listed in.
        replies: What it answers when all is well.
        problems: What else it may answer, beside those that follow from the other attributes.
        description: More than the summary, if needed.
        parameters: Of the path.
        headers: Request headers that it heeds.
        query: Model of its query; without one, any query is refused.
        body: Model of its JSON body.
        open: No token is asked for.
        stream: It answers with an endless stream, so HEAD is no use.
    """

    method: str
    path: str
    handler: Handler
    name: str
    summary: str
    tag: str
    replies: tuple[Reply, ...]
    problems: tuple[ProblemType, ...] = ()
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    headers: tuple[Parameter, ...] = ()
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    open: bool = False
    stream: bool = False

    def __post_init__(self) -> None:
        if set(_PARAMETER.findall(self.path)) != {parameter.name for parameter in self.parameters}:
            raise ValueError(f"{self.path}: its parameters must be described")


def register(router: web.UrlDispatcher, routes: Iterable[Route], guard: Callable[[Route], Handler]) -> None:
    """Add the routes to `router`, each with what `guard` makes of it; GET answers HEAD too."""
    for route in routes:
        handler = guard(route)
        if route.method == "GET":
            router.add_get(route.path, handler, allow_head=not route.stream)
        else:
            router.add_route(route.method, route.path, handler)
