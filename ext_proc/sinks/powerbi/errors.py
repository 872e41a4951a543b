"""What an answer of Power BI or its token service means for the sink. Pure.

| answer | meaning |
| --- | --- |
| 429 | wait for Retry-After, then the same again |
| 408, 5xx, no answer | the same again; a POST of rows may have been applied: then its rows are there twice |
| 401, 403 TokenExpired | once more with a new token (client.py); after that terminal |
| 413 | the same again in smaller POSTs |
| 403, 404 | terminal: permissions or names; the sentence says which to look at |
| any other | terminal, with the service's words |

The words of the other side go into logs and status. A service may say back what
it was sent, so the client's secrets are struck out first (without).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

from ext_proc.sinks.errors import RetryableSinkError, SinkError, TerminalSinkError

DEFAULT_RETRY_AFTER_S: Final = 60.0  # the shortest of the service's windows
_LONGEST_QUOTE: Final = 300
_AADSTS: Final = re.compile(r"AADSTS\d+")

_FORBIDDEN: Final = (
    "Power BI does not let the service principal {principal} write to workspace {workspace}: a tenant"
    " administrator must allow 'Service principals can use Power BI APIs' (formerly 'Allow service principals"
    " to use Power BI APIs') for it, and the workspace must have it as a Contributor"
)
_TOKEN_HINTS: Final = {
    "AADSTS7000215": "the client secret is wrong",
    "AADSTS7000222": "the client secret has expired: make a new one in the app registration",
    "AADSTS700016": "there is no app registration with this client_id in this tenant",
    "AADSTS90002": "there is no such tenant",
    "AADSTS900023": "there is no such tenant",
}


class RowsTooLargeError(RetryableSinkError):
    """The body of a POST was too large; fewer rows will do."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer that is not a success."""

    status: int
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True, slots=True)
class Place:
    """What a request was about, for the sentences."""

    principal: str
    workspace: str
    what: str  # "dataset X, table Y"


def token_expired(answer: Answer) -> bool:
    """Return whether a new token may help."""
    return answer.status == 401 or (answer.status == 403 and _error(answer.body)[0] == "TokenExpired")


def of_api(answer: Answer, place: Place, now_unix_s: float) -> SinkError:
    """Return the error for an answer of the REST API."""
    code, message = _error(answer.body)
    said = " ".join(filter(None, ("Power BI answered", str(answer.status), code, message)))
    match answer.status:
        case 413:
            return RowsTooLargeError(said)
        case 429:
            wait_s = retry_after_s(answer.headers, now_unix_s)
            return RetryableSinkError(f"Power BI asks to wait {wait_s:.0f} s ({said})", wait_s)
        case status if status == 408 or status >= 500:
            return RetryableSinkError(said, _asked_wait(answer.headers, now_unix_s))
        case 401 | 403:
            forbidden = _FORBIDDEN.format(principal=place.principal, workspace=place.workspace)
            return TerminalSinkError(f"{forbidden} ({said})")
        case 404:
            return TerminalSinkError(
                f"Power BI does not know {place.what} in workspace {place.workspace}, or does not show it"
                f" to the service principal {place.principal}: check the ids in the configuration ({said})"
            )
        case _:
            return TerminalSinkError(f"{said}: {place.what} must be a push semantic model with our columns")


def of_tokens(answer: Answer, url: str, now_unix_s: float) -> SinkError:
    """Return the error for an answer of the token service (RFC 6749, section 5.2).

    Of its words only the codes are used: the description belongs to whoever reads its own logs.
    """
    if answer.status in {408, 429} or answer.status >= 500:
        wait_s = _asked_wait(answer.headers, now_unix_s)
        return RetryableSinkError(f"{url} answered {answer.status}: no token now", wait_s)
    found = _AADSTS.search(answer.body)
    number = found.group() if found else ""
    hint = _TOKEN_HINTS.get(number, "check tenant, client_id and client secret")
    return TerminalSinkError(f"{url} gives no token: {hint} ({answer.status} {number})".replace(" )", ")"))


def retry_after_s(headers: Mapping[str, str], now_unix_s: float) -> float:
    """Return how long Retry-After (RFC 9110, section 10.2.3) asks to wait."""
    asked = _asked_wait(headers, now_unix_s)
    return DEFAULT_RETRY_AFTER_S if asked is None else asked


def without(secrets: Iterable[str], text: str) -> str:
    """Return `text` with every secret struck out."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text


def _asked_wait(headers: Mapping[str, str], now_unix_s: float) -> float | None:
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now_unix_s)
    except ValueError:
        return None


def _error(body: str) -> tuple[str, str]:
    """Return code and message of {"error": {"code", "message"}}, else what the body begins with."""
    try:
        error: Any = json.loads(body)["error"]
        return str(error["code"]), str(error.get("message") or "")[:_LONGEST_QUOTE]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", " ".join(body.split())[:_LONGEST_QUOTE]
