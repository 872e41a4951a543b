"""Holding one HTTP stream open through Envoy's listener."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

import aiohttp

from ext_proc.session.encodings import ACCEPT
from wire.names import CLUSTER_HEADER, LEASE_HEADER, SENSOR_HEADER, STREAM_PATH

CONNECT_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """Which stream to open: `after` is `<epoch>:<seq>`, None from the beginning; `token` is its own."""

    sensor_id: str
    cluster: str
    token: str
    after: str | None


class LeakedBytesError(RuntimeError):
    """Bytes of a body reached the follower: ext_proc let them through, so they were not processed."""


class Gateway(Protocol):
    """The way to the sensors."""

    async def hold(self, request: StreamRequest) -> str:
        """Hold the stream until it ends; return why it did. Cancelling resets it.

        Raises LeakedBytesError on any byte of body; the stream is reset then.
        """
        ...


class HttpGateway:
    """A connection to Envoy for each stream, over HTTP/1.1."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/") + STREAM_PATH
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def hold(self, request: StreamRequest) -> str:
        """Hold the stream until it ends; return why it did (see Gateway)."""
        assert self._session is not None, "used outside of its context"
        headers = {
            "Accept": ACCEPT,
            "Accept-Encoding": "identity",  # sessions read bodies as they are
            SENSOR_HEADER: request.sensor_id,
            CLUSTER_HEADER: request.cluster,
            LEASE_HEADER: request.token,
        }
        query = {"after": request.after} if request.after else {}
        try:
            async with self._session.get(
                self._url, headers=headers, params=query, allow_redirects=False
            ) as response:
                return await self._wait(response)
        except aiohttp.ClientError as error:
            return f"the stream was reset ({type(error).__name__})"
        except TimeoutError:
            return f"Envoy did not accept a connection within {CONNECT_TIMEOUT_S:g} s"

    async def _wait(self, response: aiohttp.ClientResponse) -> str:
        try:
            if response.status != 200:
                return f"Envoy answered {response.status} {response.reason}"
            leaked = await response.content.readany()
            if leaked:
                raise LeakedBytesError(f"{len(leaked)} bytes of a body reached the follower")
            return "the agent ended the stream"
        finally:
            response.close()
