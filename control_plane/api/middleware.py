"""Around every handler: errors become problems, answers get their headers, requests are counted."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp
import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware
from prometheus_client import CollectorRegistry, Counter, Histogram

from control_plane.api.problems import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    EXPECTATION_FAILED,
    INTERNAL_ERROR,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    STORE_UNAVAILABLE,
    ProblemError,
    ProblemType,
)
from control_plane.model import StoreUnavailableError

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_BY_STATUS: Final[dict[int, ProblemType]] = {
    404: NOT_FOUND,
    405: METHOD_NOT_ALLOWED,
    413: BODY_TOO_LARGE,
    417: EXPECTATION_FAILED,
}


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer with a problem whatever goes wrong before the answer has begun."""
    try:
        return await handler(request)
    except ProblemError as error:
        return error.response()
    except StoreUnavailableError as error:
        return ProblemError(STORE_UNAVAILABLE, str(error), headers={"Retry-After": "1"}).response()
    except web.HTTPException as error:
        return _of_http(error, request).response()
    except (aiohttp.ClientPayloadError, aiohttp.http.HttpProcessingError) as error:
        return ProblemError(BAD_REQUEST, f"the body cannot be read: {error}").response()
    except ConnectionError:  # the client has gone
        raise
    except Exception:  # the edge: said in the log, and to the client as a defect of ours
        reference = secrets.token_hex(4)
        log.exception("request_failed", reference=reference, method=request.method, path=request.path)
        if request.writer.output_size > 0:
            raise  # the answer has begun: the connection is broken off
        return ProblemError(INTERNAL_ERROR, f"Reference {reference}.").response()


def _of_http(error: web.HTTPException, request: web.Request) -> ProblemError:
    kind = _BY_STATUS.get(error.status, BAD_REQUEST)
    headers = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
    details = {
        NOT_FOUND: f"there is nothing at {request.path}",
        METHOD_NOT_ALLOWED: f"{request.method} is not allowed here; allowed: {headers.get('Allow')}",
        BODY_TOO_LARGE: BODY_TOO_LARGE.meaning,
    }
    return ProblemError(kind, details.get(kind, error.reason or kind.title), headers=headers)


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Set the headers that every answer has, unless its handler chose otherwise (on_response_prepare)."""
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("Referrer-Policy", "no-referrer")


def counting(registry: CollectorRegistry) -> Middleware:
    """Return a middleware that counts and times requests in `registry`, by route."""
    requests = Counter(
        "gaugeway_api_requests", "Requests answered.", ["method", "route", "status"], registry=registry
    )
    seconds = Histogram(
        "gaugeway_api_request_seconds",
        "From a request's arrival to its handler's end; streams are left out.",
        ["method", "route"],
        registry=registry,
    )

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.monotonic()
        response = await handler(request)
        resource = request.match_info.route.resource
        route = resource.canonical if resource else "none"
        method = request.method if resource else "any"
        requests.labels(method, route, response.status).inc()
        if response.content_type != "text/event-stream":
            seconds.labels(method, route).observe(time.monotonic() - began)
        return response

    return count
