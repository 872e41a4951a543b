"""Holding HTTP streams open through Envoy's listener."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self
from urllib.parse import urlencode, urlsplit

from ext_proc.follower.http2 import Http2Connection, LeakedBytesError
from ext_proc.session.encodings import ACCEPT
from wire.names import CLUSTER_HEADER, LEASE_HEADER, SENSOR_HEADER, STREAM_PATH

__all__ = ["Gateway", "HttpGateway", "LeakedBytesError", "StreamRequest"]

CONNECT_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """Which stream to open: `after` is `<epoch>:<seq>`, None from the beginning; `token` is its own."""

    sensor_id: str
    cluster: str
    token: str
    after: str | None


class Gateway(Protocol):
    """The way to the sensors."""

    async def hold(self, request: StreamRequest) -> str:
        """Hold the stream until it ends; return why it did. Cancelling resets it.

        Raises LeakedBytesError on any byte of body; the stream is reset then.
        """
        ...


class HttpGateway:
    """HTTP/2 connections to Envoy, as many as the streams need.

    Args:
        url: Of Envoy's listener; with `https` it is asked for HTTP/2 by ALPN.
    """

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._connections: list[Http2Connection] = []
        self._connecting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._connections:
            connection.close()

    async def hold(self, request: StreamRequest) -> str:
        """Hold the stream until it ends; return why it did (see Gateway)."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                connection = await self._connection()
        except TimeoutError:
            return f"Envoy did not accept a connection within {CONNECT_TIMEOUT_S:g} s"
        except OSError as error:
            return f"Envoy did not accept a connection ({error.strerror or type(error).__name__})"
        return await connection.hold(self._headers(request))

    async def _connection(self) -> Http2Connection:
        """Return a connection that takes another stream; its place is free until the caller awaits."""
        async with self._connecting:
            self._connections = [each for each in self._connections if not each.is_over]
            for connection in self._connections:
                if connection.has_room:
                    return connection
            _, connection = await asyncio.get_running_loop().create_connection(
                Http2Connection, self._url.hostname or "", self._port(), ssl=self._tls()
            )
            self._connections.append(connection)
            return connection

    def _port(self) -> int:
        return self._url.port or (443 if self._url.scheme == "https" else 80)

    def _tls(self) -> ssl.SSLContext | None:
        if self._url.scheme != "https":
            return None
        context = ssl.create_default_context()
        context.set_alpn_protocols(["h2"])
        return context

    def _headers(self, request: StreamRequest) -> list[tuple[str, str]]:
        query = "?" + urlencode({"after": request.after}) if request.after else ""
        return [
            (":method", "GET"),
            (":scheme", self._url.scheme),
            (":authority", self._url.netloc),
            (":path", f"{self._url.path.rstrip('/')}{STREAM_PATH}{query}"),
            ("accept", ACCEPT),
            (CLUSTER_HEADER, request.cluster),
            (SENSOR_HEADER, request.sensor_id),
            (LEASE_HEADER, request.token),
        ]
