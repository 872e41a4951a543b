"""Reading what a request says: its query and its body, or the problem with them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar, get_origin

from aiohttp import web
from pydantic import BaseModel, ValidationError

from control_plane.api.ports import Principal
from control_plane.api.problems import (
    INVALID_JSON,
    REQUEST_TIMEOUT,
    UNSUPPORTED_MEDIA_TYPE,
    FieldError,
    ProblemError,
    invalid,
)
from control_plane.api.validation import field_errors, is_broken_json
from control_plane.rule_model import KINDS as RULE_KINDS

MAX_BODY_BYTES: Final = 64 * 1024
BODY_S: Final = 20.0

PRINCIPAL: Final = web.RequestKey("principal", Principal)
QUERY: Final = web.RequestKey("query", BaseModel)

_UNION_TAGS: Final = ("machine", "replay", *RULE_KINDS)  # in pydantic's locations

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


def read_query(request: web.Request, model: type[M]) -> M:
    """Return the query as `model`. Raises ProblemError, naming each parameter that breaks a rule."""
    values: dict[str, object] = {}
    repeated = []
    for name in dict.fromkeys(request.query):
        given = request.query.getall(name)
        field = model.model_fields.get(name)
        if field is not None and get_origin(field.annotation) is list:
            values[name] = given
            continue
        values[name] = given[0]
        if len(given) > 1:
            repeated.append(FieldError(field=name, rule="must be given once"))
    try:
        query = model.model_validate(values)
    except ValidationError as error:
        raise invalid([*repeated, *field_errors(error)]) from error
    if repeated:
        raise invalid(repeated)
    return query


async def read_body(request: web.Request, model: type[M]) -> M:
    """Return the JSON body as `model`, types taken strictly.

    Raises ProblemError; aiohttp raises HTTPRequestEntityTooLarge.
    """
    if request.content_type != "application/json":
        raise ProblemError(UNSUPPORTED_MEDIA_TYPE, f"Content-Type is {request.content_type}")
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise ProblemError(UNSUPPORTED_MEDIA_TYPE, f"Content-Encoding is {encoding}")
    text = await _read_bytes(request)
    try:
        return model.model_validate_json(text, strict=True)
    except ValidationError as error:
        if is_broken_json(error):
            raise ProblemError(INVALID_JSON, error.errors(include_url=False)[0]["msg"]) from error
        raise invalid(field_errors(error, model.model_fields, _UNION_TAGS)) from error


async def _read_bytes(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_S):
            return await request.read()
    except TimeoutError as error:
        raise ProblemError(
            REQUEST_TIMEOUT, REQUEST_TIMEOUT.meaning, headers={"Connection": "close"}
        ) from error


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; a client that leaves does not stop it half-way.

    A handler is cancelled when its client has gone: what it changes would then
    lack its audit row.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # nobody is left who could be told
        raise
