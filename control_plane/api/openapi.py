"""The OpenAPI 3.1 document, made from the route table and the models. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, cast

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from control_plane.api.models import SensorsEvent
from control_plane.api.problems import (
    BODY_TOO_LARGE,
    INVALID_JSON,
    INVALID_REQUEST,
    MEDIA_TYPE,
    METHOD_NOT_ALLOWED,
    REQUEST_TIMEOUT,
    UNAUTHORIZED,
    UNSUPPORTED_MEDIA_TYPE,
    Problem,
    ProblemType,
)
from control_plane.api.routes import Parameter, Reply, Route
from wire.status import LiveWindows

_SCHEMAS: Final = "#/components/schemas/"
_ALSO: Final[tuple[type[BaseModel], ...]] = (
    Problem,
    SensorsEvent,
    LiveWindows,
)  # named in texts and problems
_DESCRIPTION: Final = """\
Problems are `application/problem+json` (RFC 9457); the page at their `type` explains them. Unknown query
parameters and unknown members of a body are refused. Every GET that is no event stream answers HEAD too.
Times are RFC 3339, except `*_unix_ns`: Unix time in nanoseconds. Event streams send a comment at least every
5 seconds. A 500 is a defect."""

_Mode = Literal["validation", "serialization"]
_Refs = Mapping[tuple[type[BaseModel], _Mode], Mapping[str, Any]]


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """Return the document of `routes`, as JSON values."""
    refs, schemas = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, refs)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Gaugeway", "version": version, "description": _DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _schemas(routes: Sequence[Route]) -> tuple[_Refs, dict[str, Any]]:
    """Return a reference for each model, and the schemas referred to."""
    taken: list[type[BaseModel]] = [route.body for route in routes if route.body]
    given: list[type[BaseModel]] = [reply.model for route in routes for reply in route.replies if reply.model]
    models: list[tuple[type[BaseModel], _Mode]] = [(model, "validation") for model in taken]
    models += [(model, "serialization") for model in dict.fromkeys([*given, *_ALSO])]
    refs, schema = models_json_schema(models, ref_template=_SCHEMAS + "{model}")
    _require_discriminators(schema["$defs"])
    return cast("_Refs", refs), schema["$defs"]


def _require_discriminators(schemas: dict[str, Any]) -> None:
    """Say that members of unions must name their kind: pydantic asks for it, but does not say so."""
    for schema in schemas.values():
        for of_property in schema.get("properties", {}).values():
            discriminator = of_property.get("discriminator", {})
            for ref in discriminator.get("mapping", {}).values():
                member = schemas[ref.removeprefix(_SCHEMAS)]
                name = discriminator["propertyName"]
                member["required"] = sorted({*member.get("required", ()), name})


def _operation(route: Route, refs: _Refs) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.tag],
        "security": [] if route.open else [{"token": []}],
        "responses": _responses(route, refs),
    }
    if route.description:
        operation["description"] = route.description
    parameters = [
        *(_parameter(parameter, "path") for parameter in route.parameters),
        *(_parameter(parameter, "header") for parameter in route.headers),
        *_query_parameters(route),
    ]
    if parameters:
        operation["parameters"] = parameters
    if route.body:
        content = {"application/json": {"schema": refs[route.body, "validation"]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameter(parameter: Parameter, place: str) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": place,
        "required": place == "path",
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    schema = route.query.model_json_schema()
    parameters = []
    for name, of_value in schema.get("properties", {}).items():
        value = {key: content for key, content in of_value.items() if key not in {"title", "description"}}
        parameters.append(
            {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", ()),
                "description": of_value.get("description", ""),
                "schema": _without_null(value),
            }
        )
    return parameters


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without the null that stands for 'left out': a query cannot say null."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == len(schema.get("anyOf", ())):
        return schema
    rest = {key: value for key, value in schema.items() if key not in {"anyOf", "default"}}
    return {**rest, **(options[0] if len(options) == 1 else {"anyOf": options})}


def _responses(route: Route, refs: _Refs) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for reply in route.replies:
        response = responses.setdefault(str(reply.status), {"description": reply.description})
        if reply.headers:
            response["headers"] = {
                name: {"description": text, "schema": {"type": "string"}}
                for name, text in reply.headers.items()
            }
        response.setdefault("content", {}).update(_content(reply, refs))
    for response in responses.values():
        if not response["content"]:
            del response["content"]
    for kind in _problems(route):
        _add_problem(responses, kind, refs)
    return dict(sorted(responses.items()))


def _content(reply: Reply, refs: _Refs) -> dict[str, Any]:
    if reply.model:
        return {"application/json": {"schema": refs[reply.model, "serialization"]}}
    if reply.media_type:
        schema = {"type": "object" if reply.media_type == "application/json" else "string"}
        return {reply.media_type: {"schema": schema}}
    return {}


def _problems(route: Route) -> list[ProblemType]:
    """Return what the route may answer when something is wrong."""
    kinds = [*route.problems, METHOD_NOT_ALLOWED, INVALID_REQUEST]
    if not route.open:
        kinds.append(UNAUTHORIZED)
    if route.body:
        kinds += [INVALID_JSON, REQUEST_TIMEOUT, BODY_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE]
    return kinds


def _add_problem(responses: dict[str, Any], kind: ProblemType, refs: _Refs) -> None:
    """Add a problem to its status, beside others of the same."""
    line = f"`{kind.path}`: {kind.title}."
    response = responses.setdefault(str(kind.status), {})
    response["description"] = f"{response['description']} {line}" if response else line
    response["content"] = {MEDIA_TYPE: {"schema": refs[Problem, "serialization"]}}
