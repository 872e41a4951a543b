"""Requests that may come twice: the Idempotency-Key header and what it promises."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from pydantic import BaseModel

from control_plane.api.ports import (
    Accounts,
    Answer,
    AuditEntry,
    IdempotencyKey,
    KeyReusedError,
    Principal,
)
from control_plane.api.problems import IDEMPOTENCY_KEY_REUSED, FieldError, ProblemError, invalid

HEADER: Final = "Idempotency-Key"
REPLAYED_HEADER: Final = "Idempotent-Replayed"
KEY_PATTERN: Final = "^[!-~]{1,255}$"
_KEY: Final = re.compile("[!-~]{1,255}")
_RULE: Final = "must be 1 to 255 printable ASCII characters without spaces"

Serve = Callable[[bool], Awaitable[tuple[Answer, AuditEntry]]]


async def serve_once(accounts: Accounts, key: IdempotencyKey | None, serve: Serve) -> web.Response:
    """Return the answer of `serve`, or the one that the request was given before.

    `serve(again)` is told whether an earlier try was never answered. An answer
    that it returns is kept with its audit row; a problem that it raises is not,
    so that the request may come again.

    Raises ProblemError if the key belongs to another request.
    """
    if key is None:
        answer, entry = await serve(False)
        await accounts.record(entry)
        return _response(answer)
    try:
        begun = await accounts.begin(key)
    except KeyReusedError as error:
        raise ProblemError(
            IDEMPOTENCY_KEY_REUSED, f"{HEADER} {key.key} came with another request before"
        ) from error
    if isinstance(begun, Answer):
        return _response(begun, {REPLAYED_HEADER: "true"})
    answer, entry = await serve(begun.again)
    await accounts.complete(key, answer, entry)
    return _response(answer)


def read_key(request: web.Request, principal: Principal, body: BaseModel) -> IdempotencyKey | None:
    """Return the request's key, None without one. Raises ProblemError."""
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise invalid([FieldError(field=HEADER, rule=_RULE)])
    fingerprint = hashlib.sha256(f"{request.method} {request.path}\n{body.model_dump_json()}".encode())
    return IdempotencyKey(principal, key, fingerprint.hexdigest())


def _response(answer: Answer, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=answer.status, body=answer.body, headers={**answer.headers, **(headers or {})})
