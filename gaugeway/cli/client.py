"""A client of the API for commands: one request at a time, from the standard library, which loads fast."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

from gaugeway.cli.errors import CliError, ExitCode
from gaugeway.cli.location import Location

TIMEOUT_S: Final = 15.0


class ApiClient:
    """Calls one API. Every method raises CliError."""

    def __init__(self, location: Location, timeout_s: float = TIMEOUT_S) -> None:
        self.url = location.url
        self._token = location.token
        self._timeout_s = timeout_s

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Any:
        """Return the JSON at `path`."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        return self._call("GET", path + (f"?{urllib.parse.urlencode(given)}" if given else ""))

    def post(self, path: str, body: object, idempotency_key: str) -> Any:
        """Send `body`; return the answer's JSON. The same key again does it no second time."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": idempotency_key}
        return self._call("POST", path, json.dumps(body).encode(), headers)

    def put(self, path: str, body: object, headers: Mapping[str, str]) -> Any:
        """Set what is at `path`; return the answer's JSON."""
        headers = {"Content-Type": "application/json", **headers}
        return self._call("PUT", path, json.dumps(body).encode(), headers)

    def delete(self, path: str, headers: Mapping[str, str] | None = None) -> Any:
        """Delete what is at `path`; return the answer's JSON."""
        return self._call("DELETE", path, headers=headers)

    def _call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        if not self.url.startswith(("http://", "https://")):
            raise CliError(
                ExitCode.USAGE, f"the API's URL must begin with http:// or https://, not {self.url!r}"
            )
        request = urllib.request.Request(  # noqa: S310 - checked above
            self.url + path,
            data=body,
            method=method,
            headers={"Authorization": f"Bearer {self._token}", **(headers or {})},
        )
        try:
            with _opener().open(request, timeout=self._timeout_s) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error.code, error.read()) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise CliError(
                ExitCode.UNREACHABLE,
                f"no API answers at {self.url}: {_reason(error)}",
                "see whether `gaugeway up` still runs, or name another API with --api-url",
            ) from error


def _opener() -> urllib.request.OpenerDirector:
    # A proxy is for the world outside; the API is the operator's own.
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", error) or type(error).__name__)


def _refusal(status: int, body: bytes) -> CliError:
    """Return the error that a problem (RFC 9457) means."""
    try:
        problem = json.loads(body)
        text = str(problem.get("detail") or problem["title"])
    except (ValueError, KeyError, AttributeError):
        text = f"the API answered {status}"
    if status == 401:
        return CliError(ExitCode.UNREACHABLE, text, "name the token's file with --token-file", status=status)
    if status == 404:
        return CliError(ExitCode.NOT_FOUND, text, status=status)
    return CliError(ExitCode.REFUSED if 400 <= status < 500 else ExitCode.FAILED, text, status=status)
