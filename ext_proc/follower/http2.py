"""One HTTP/2 connection to Envoy, over which many streams are held (RFC 9113).

Envoy's listener and its memory carry twice as many sensors than with a
connection each: a stream there costs a few KB, a connection a socket more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError

MAX_STREAMS: Final = 500  # as the gateway's listener allows (control_plane.resources.listener)
_LAST_STREAM: Final = 2**31 - 3  # no more ids after it

Headers = Sequence[tuple[str, str]]


class LeakedBytesError(RuntimeError):
    """Bytes of a body reached the follower: ext_proc let them through, so they were not processed."""


class Http2Connection(asyncio.Protocol):
    """Holds streams until they end. `has_room` says whether it takes another one."""

    def __init__(self) -> None:
        self._connection = H2Connection(H2Configuration(client_side=True))
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, asyncio.Future[str]] = {}
        self._leaving = False

    @property
    def has_room(self) -> bool:
        """Whether another stream may be opened."""
        most = min(MAX_STREAMS, self._connection.remote_settings.max_concurrent_streams)
        return not self._leaving and len(self._streams) < most

    @property
    def is_over(self) -> bool:
        """Whether it takes no stream any more and holds none."""
        return self._leaving and not self._streams

    async def hold(self, headers: Headers) -> str:
        """Open a stream and hold it until it ends; return why it did. Cancelling resets it.

        Raises LeakedBytesError on a byte of body in a response of status 200; it is reset then.
        """
        stream = self._connection.get_next_available_stream_id()
        self._leaving = self._leaving or stream >= _LAST_STREAM
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._streams[stream] = ended
        try:
            self._connection.send_headers(stream, headers, end_stream=True)
            self._flush()
            return await ended
        finally:
            if self._streams.pop(stream, None) is not None:
                self._reset(stream)

    def close(self) -> None:
        """Close the connection, and all streams with it."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet Envoy."""
        self._transport = cast("asyncio.Transport", transport)
        self._connection.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Take what Envoy says."""
        try:
            events = self._connection.receive_data(data)
        except ProtocolError as error:
            self._end_all(f"the stream was reset (Envoy broke HTTP/2: {error})")
            self.close()
            return
        for event in events:
            self._take(event)
        self._flush()

    def connection_lost(self, _: Exception | None) -> None:
        """End every stream."""
        self._end_all("the stream was reset (the connection to Envoy is lost)")

    def _take(self, event: Event) -> None:
        if isinstance(event, ResponseReceived):
            status = next(value for name, value in event.headers or () if name == b":status").decode()
            if status != "200":
                self._end(event.stream_id, f"Envoy answered {status}", over=False)
        elif isinstance(event, DataReceived):
            self._connection.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
            ended = self._streams.get(event.stream_id)
            if ended is not None and event.data and not ended.done():
                count = len(event.data)
                ended.set_exception(LeakedBytesError(f"{count} bytes of a body reached the follower"))
        elif isinstance(event, StreamEnded):
            self._end(event.stream_id, "the agent ended the stream", over=True)
        elif isinstance(event, StreamReset):
            self._end(event.stream_id, f"the stream was reset ({_named(event.error_code)})", over=True)
        elif isinstance(event, ConnectionTerminated):
            self._leaving = True

    def _end(self, stream: int, reason: str, *, over: bool) -> None:
        """Tell why a stream ended; `over`: nothing of it is left to be reset."""
        ended = self._streams.get(stream)
        if ended is None:
            return
        if over:
            del self._streams[stream]
        if not ended.done():
            ended.set_result(reason)

    def _end_all(self, reason: str) -> None:
        self._leaving = True
        for stream in list(self._streams):
            self._end(stream, reason, over=True)

    def _reset(self, stream: int) -> None:
        try:
            self._connection.reset_stream(stream, ErrorCodes.CANCEL)
        except ProtocolError:  # it, or the connection, has ended meanwhile
            return
        self._flush()

    def _flush(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._connection.data_to_send())


def _named(code: ErrorCodes | int | None) -> str:
    return code.name if isinstance(code, ErrorCodes) else f"error {code}"
