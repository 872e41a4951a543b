"""What an answer means: the table of powerbi.errors, row by row."""

from __future__ import annotations

import json

import pytest

from ext_proc.sinks.errors import RetryableSinkError, SinkError, TerminalSinkError
from ext_proc.sinks.powerbi.errors import (
    Answer,
    Place,
    RowsTooLargeError,
    of_api,
    of_tokens,
    retry_after_s,
    token_expired,
    without,
)

PLACE = Place("app-7", "ws-1", "dataset d-1 with the table windows")
NOW_S = 1_767_225_600.0  # Thu, 01 Jan 2026 00:00:00 GMT


def answer(status: int, code: str = "", message: str = "", **headers: str) -> Answer:
    """Return an answer in the service's form."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, json.dumps({"error": {"code": code, "message": message}}))


@pytest.mark.parametrize(
    ("given", "kind", "wait_s", "sentence"),
    [
        (answer(429, "TooManyRequests", Retry_After="17"), RetryableSinkError, 17.0, "asks to wait 17 s"),
        (answer(429), RetryableSinkError, 60.0, "asks to wait 60 s"),
        (answer(500, "InternalError", "oops"), RetryableSinkError, None, "answered 500 InternalError oops"),
        (answer(503, Retry_After="5"), RetryableSinkError, 5.0, "answered 503"),
        (answer(408), RetryableSinkError, None, "answered 408"),
        (
            Answer(502, {}, "<html>Bad\n  Gateway</html>"),
            RetryableSinkError,
            None,
            "<html>Bad Gateway</html>",
        ),
        (answer(413), RowsTooLargeError, None, "answered 413"),
        (answer(401), TerminalSinkError, None, "Service principals can use Power BI APIs"),
        (answer(403, "Forbidden"), TerminalSinkError, None, "workspace ws-1: a tenant administrator"),
        (answer(404), TerminalSinkError, None, "does not know dataset d-1 with the table windows"),
        (answer(400, "UnknownColumn", "p95"), TerminalSinkError, None, "UnknownColumn p95: dataset d-1"),
        (answer(307), TerminalSinkError, None, "answered 307"),
        (Answer(400, {}, "x" * 10_000), TerminalSinkError, None, "x" * 300 + ":"),
        (Answer(400, {}, "[]"), TerminalSinkError, None, "answered 400 []"),
    ],
)
def test_answers_of_the_api(
    given: Answer, kind: type[SinkError], wait_s: float | None, sentence: str
) -> None:
    """Each is retryable or terminal, and its sentence says what to do or what was said."""
    error = of_api(given, PLACE, NOW_S)
    assert type(error) is kind
    assert sentence in str(error)
    assert getattr(error, "retry_after_s", None) == wait_s


@pytest.mark.parametrize(
    ("status", "body", "kind", "sentence"),
    [
        (401, "AADSTS7000215: Invalid client secret", TerminalSinkError, "the client secret is wrong (401 "),
        (401, "AADSTS7000222: expired", TerminalSinkError, "has expired: make a new one"),
        (400, "AADSTS700016: no app", TerminalSinkError, "no app registration with this client_id"),
        (400, "AADSTS90002: no tenant", TerminalSinkError, "there is no such tenant"),
        (400, "no number", TerminalSinkError, "check tenant, client_id and client secret (400)"),
        (503, "", RetryableSinkError, "answered 503: no token now"),
        (429, "", RetryableSinkError, "answered 429: no token now"),
    ],
)
def test_answers_of_the_token_service(status: int, body: str, kind: type[SinkError], sentence: str) -> None:
    """The error says what is wrong in the app registration, never what the body said."""
    error = of_tokens(Answer(status, {}, json.dumps({"error_description": body})), "https://t", NOW_S)
    assert type(error) is kind
    assert sentence in str(error)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 2026 00:01:30 GMT", 90.0),
        ("Wed, 31 Dec 2025 23:00:00 GMT", 0.0),
        ("soon", 60.0),
        ("-5", 60.0),
        ("", 60.0),
    ],
)
def test_retry_after(value: str, seconds: float) -> None:
    """Seconds or a date (RFC 9110); anything else is taken for a minute."""
    assert retry_after_s({"Retry-After": value}, NOW_S) == seconds


def test_when_a_new_token_may_help() -> None:
    """The service says 401, or 403 with a code of its own."""
    assert token_expired(answer(401))
    assert token_expired(answer(403, "TokenExpired"))
    assert not token_expired(answer(403, "Forbidden"))
    assert not token_expired(answer(404, "TokenExpired"))


def test_secrets_are_struck_out() -> None:
    """Every one, everywhere; an empty one is no secret."""
    assert without(["", "abc"], "abc, abcd") == "***, ***d"
