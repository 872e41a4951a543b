"""Every problem that the API answers with (RFC 9457), and what each means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

MEDIA_TYPE: Final = "application/problem+json"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A kind of problem. Its `type` member is the path of the page that explains it."""

    slug: str
    status: int
    title: str
    meaning: str

    @property
    def path(self) -> str:
        """Where it is explained, and its `type`."""
        return f"/problems/{self.slug}"


INVALID_JSON: Final = ProblemType(
    "invalid-json", 400, "The body is not JSON", "The body could not be read as one JSON document in UTF-8."
)
BAD_REQUEST: Final = ProblemType(
    "bad-request", 400, "The request cannot be read", "The request breaks the rules of HTTP."
)
UNAUTHORIZED: Final = ProblemType(
    "unauthorized",
    401,
    "A valid token is needed",
    "Send the token from the installation's token file as `Authorization: Bearer TOKEN`.",
)
NOT_FOUND: Final = ProblemType("not-found", 404, "Not found", "There is nothing at this path, or no longer.")
NO_HISTORY: Final = ProblemType(
    "no-history",
    404,
    "No history on this installation",
    "This installation has no local warehouse, so windows of the past are only where its sinks deliver them.",
)
METHOD_NOT_ALLOWED: Final = ProblemType(
    "method-not-allowed", 405, "Method not allowed", "The path exists; the Allow header lists its methods."
)
REQUEST_TIMEOUT: Final = ProblemType(
    "request-timeout", 408, "The body did not come", "A body must have come whole within 20 seconds."
)
SENSOR_EXISTS: Final = ProblemType(
    "sensor-exists",
    409,
    "The sensor exists",
    "A sensor of this id exists, or is still being removed. Nothing was changed.",
)
TOO_MANY_RULES: Final = ProblemType(
    "too-many-rules",
    409,
    "Too many rules",
    "There are at most 256 rules, of 256 KiB together as JSON: a record of the journal holds them all, "
    "and a worker keeps a state for each. Patterns instead of lists make them few and small. "
    "Nothing was changed.",
)
PRECONDITION_FAILED: Final = ProblemType(
    "precondition-failed",
    412,
    "It has changed",
    "If-Match names another revision than the sensor or rule has, or If-None-Match one that exists. "
    "Read it again, then decide. Nothing was changed.",
)
BODY_TOO_LARGE: Final = ProblemType(
    "body-too-large", 413, "The body is too large", "A body holds at most 64 KiB."
)
UNSUPPORTED_MEDIA_TYPE: Final = ProblemType(
    "unsupported-media-type",
    415,
    "The body must be JSON",
    "Send the body with `Content-Type: application/json`, without Content-Encoding.",
)
EXPECTATION_FAILED: Final = ProblemType(
    "expectation-failed", 417, "Expectation failed", "The only expectation that is met is 100-continue."
)
INVALID_REQUEST: Final = ProblemType(
    "invalid-request",
    422,
    "A value breaks a rule",
    "`errors` names each field (of the body, the query or the headers) and the rule that it breaks. "
    "Query parameters that are not known are refused, so that a misspelt one is not ignored.",
)
IDEMPOTENCY_KEY_REUSED: Final = ProblemType(
    "idempotency-key-reused",
    422,
    "The idempotency key was used for another request",
    "An Idempotency-Key belongs to one request for 24 hours. Take a new key for a new request.",
)
INTERNAL_ERROR: Final = ProblemType(
    "internal-error",
    500,
    "An error that nothing foresaw",
    "This is a defect. The control plane's log has the details under the reference in `detail`.",
)
STORE_UNAVAILABLE: Final = ProblemType(
    "store-unavailable",
    503,
    "The store does not answer",
    "The desired state cannot be written now. With an Idempotency-Key a request can safely be repeated.",
)
AUDIT_UNAVAILABLE: Final = ProblemType(
    "audit-unavailable",
    503,
    "A shard does not answer",
    "The audit is exact or not given: while the worker of a shard is away there is none.",
)
EVENTS_UNAVAILABLE: Final = ProblemType(
    "events-unavailable",
    503,
    "The journal does not answer",
    "Events are read from the journal, which does not answer now. They are not lost.",
)
TOO_MANY_STREAMS: Final = ProblemType(
    "too-many-streams",
    503,
    "Too many event streams are open",
    "A control plane serves a fixed number of event streams at once. Close some, or try again later.",
)
NOT_READY: Final = ProblemType(
    "not-ready", 503, "Not ready", "The control plane runs, but `detail` names what it still waits for."
)
STANDBY: Final = ProblemType(
    "standby",
    503,
    "This control plane stands by",
    "Of several control planes one leads and answers; the others wait to take its place. "
    "`detail` names the leader.",
)

PROBLEMS: Final[Mapping[str, ProblemType]] = {
    kind.slug: kind for kind in list(globals().values()) if isinstance(kind, ProblemType)
}


class FieldError(BaseModel):
    """One field and the rule that it breaks, as in 'id' and 'must be a DNS label'."""

    model_config = ConfigDict(frozen=True)

    field: str
    rule: str


class Problem(BaseModel):
    """What went wrong (RFC 9457, application/problem+json)."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(description="Path of a page that explains this kind of problem.")
    title: str
    status: int
    detail: str = Field(description="What was wrong with this request, in a sentence.")
    errors: list[FieldError] | None = Field(default=None, description="Fields that break a rule.")


class ProblemError(Exception):
    """Ends a request with a problem."""

    def __init__(
        self,
        kind: ProblemType,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        super().__init__(f"{kind.slug}: {detail}")

    def body(self) -> bytes:
        """Return the problem as JSON."""
        errors = [
            FieldError(field=_printable(error.field), rule=_printable(error.rule)) for error in self.errors
        ]
        problem = Problem(
            type=self.kind.path,
            title=self.kind.title,
            status=self.kind.status,
            detail=_printable(self.detail),
            errors=errors or None,
        )
        return problem.model_dump_json(exclude_none=True).encode()

    def response(self) -> web.Response:
        """Return the response that says it."""
        return web.Response(
            status=self.kind.status, body=self.body(), content_type=MEDIA_TYPE, headers=self.headers
        )


def _printable(text: str) -> str:
    """Return text that UTF-8 can hold: headers may bring bytes that it cannot."""
    return text.encode("utf-8", "backslashreplace").decode()


def invalid(errors: Sequence[FieldError]) -> ProblemError:
    """Return the problem of values that break rules; its detail says them all."""
    detail = "; ".join(f"{error.field} {error.rule}" for error in errors)
    return ProblemError(INVALID_REQUEST, detail, errors=errors)
