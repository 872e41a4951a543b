"""A client of Envoy's admin interface.

https://www.envoyproxy.io/docs/envoy/latest/operations/admin
"""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

TIMEOUT_S: Final = 5.0


class AdminError(RuntimeError):
    """Envoy's admin interface does not answer, or not as it should; the text says how."""


class AdminClient:
    """Asks one Envoy about itself. An async context manager.

    Every method raises AdminError if Envoy is away or does not understand.
    """

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        """`url` is `http://host:port`; `timeout_s` bounds each question."""
        self._url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def ready(self) -> bool:
        """Whether Envoy has its configuration and serves."""
        status, text = await self._get("/ready")
        if status not in {200, 503}:
            raise AdminError(f"{self._url}/ready answered {status}: {text[:200]}")
        return status == 200

    async def listeners(self) -> dict[str, str]:
        """Return the bound address of each active listener: `{name: "host:port"}`."""
        found = await self._list("/listeners", {"format": "json"}, "listener_statuses")
        return {each["name"]: _address(each["local_address"]) for each in found}

    async def clusters(self) -> list[dict[str, Any]]:
        """Return Envoy's ClusterStatus messages as JSON, endpoints and their stats included.

        About 0.8 KB an endpoint: ask every 30 s, not more, of a large fleet.
        """
        return await self._list("/clusters", {"format": "json"}, "cluster_statuses")

    async def stats(self, name_pattern: str | None = None) -> dict[str, int]:
        """Return counters and gauges by name; `name_pattern` is a regular expression on the name."""
        query = {"format": "json", "type": "All"} | ({"filter": name_pattern} if name_pattern else {})
        found = await self._list("/stats", query, "stats")
        return {each["name"]: each["value"] for each in found if isinstance(each.get("value"), int)}

    async def config_dump(self, *, endpoints: bool = False) -> list[dict[str, Any]]:
        """Return what Envoy runs and what it refused, one dump a resource type; EDS only if asked for."""
        return await self._list("/config_dump", {"include_eds": ""} if endpoints else {}, "configs")

    async def _list(self, path: str, query: dict[str, str], field: str) -> list[dict[str, Any]]:
        """Return a list of objects that an answer in JSON holds; Envoy leaves an empty one out."""
        status, text = await self._get(path, query)
        if status != 200:
            raise AdminError(f"{self._url}{path} answered {status}: {text[:200]}")
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise AdminError(f"{self._url}{path} answered no JSON: {error}") from error
        found = answer.get(field, []) if isinstance(answer, dict) else None
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise AdminError(f"{self._url}{path} answered JSON without a list {field!r}: {text[:200]}")
        return found

    async def _get(self, path: str, query: dict[str, str] | None = None) -> tuple[int, str]:
        if self._session is None:
            raise AdminError("the client was not entered: use `async with AdminClient(...)`")
        try:
            async with self._session.get(self._url + path, params=query) as response:
                return response.status, await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise AdminError(f"{self._url}{path} does not answer: {reason}") from error


def _address(message: dict[str, Any]) -> str:
    socket = message.get("socket_address")
    if socket is None:
        return str(message.get("pipe", {}).get("path", ""))
    return f"{socket['address']}:{socket['port_value']}"
