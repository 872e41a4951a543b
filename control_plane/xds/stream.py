"""One client's gRPC stream, in either variant: a task reads, the handler itself writes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError

from control_plane.resources.model import short_type
from control_plane.xds.cache import Connection, SnapshotCache
from control_plane.xds.messages import ProtocolError, Request, Response, Variant
from control_plane.xds.metrics import XdsMetrics, type_label
from control_plane.xds.node import TTL_FEATURE, WRAPPER_FEATURE, NodeKey, UnknownNodeError, checked_key
from wire.gen.gaugeway.envoy.v1 import discovery_pb2

log = structlog.get_logger(__name__)

CLOSE_S: Final = 1.0
_LOGGED_NAMES: Final = 20  # of those that a client refuses at once

Message = discovery_pb2.DiscoveryRequest | discovery_pb2.DeltaDiscoveryRequest
Context = grpc.aio.ServicerContext[Any, Any]


class _Encoded(Protocol):
    def SerializeToString(self) -> bytes: ...  # noqa: N802  # protobuf's name


class _Write(Protocol):
    def __call__(self, response: Response, *, ttl: bool) -> _Encoded: ...


@dataclass(frozen=True, slots=True)
class Wire:
    """A variant's messages: the request's class, and what translates from and to them."""

    variant: Variant
    request: type[Any]
    read: Callable[[Any], Request]
    write: _Write


class _SlowClientError(Exception):
    """A client does not read what it is sent, or does not answer it; the text says which and for how long."""


class Stream:
    """Converses on one stream. A client that is slow only makes its own changes coalesce."""

    def __init__(
        self,
        cache: SnapshotCache,
        connection: Connection,
        metrics: XdsMetrics,
        wire: Wire,
        answer_s: float,
    ) -> None:
        self._cache = cache
        self._connection = connection
        self._metrics = metrics
        self._wire = wire
        self._answer_s = answer_s
        self._sent_at: dict[str, float] = {}  # by nonce, monotonic seconds
        self._role = connection.node.key.role
        self._ttl = {TTL_FEATURE, WRAPPER_FEATURE} <= connection.node.features or (
            wire.variant == "delta" and TTL_FEATURE in connection.node.features
        )

    async def serve(self, first: Message, context: Context) -> None:
        """Converse until the client ends, breaks the protocol, is too slow, or is ended."""
        reading = asyncio.create_task(self._read_all(first, context))
        reading.add_done_callback(lambda _: self._connection.wake())
        try:
            while not reading.done():
                if self._connection.ended is not None:
                    await close(context, grpc.StatusCode.UNAVAILABLE, self._connection.ended)
                    return
                await self._send(context)
                await self._connection.wait(self._patience())
            await self._conclude(reading, context)
        except _SlowClientError as error:
            self._metrics.slow.labels(self._role).inc()
            log.warning("slow_client_cut_off", node=self._connection.node.key.node_id, reason=str(error))
            await close(context, grpc.StatusCode.DEADLINE_EXCEEDED, str(error))
        finally:
            reading.cancel()
            await asyncio.wait({reading})
            if not reading.cancelled():
                reading.exception()  # said where it matters, or of a stream that is gone

    def _patience(self) -> float | None:
        """Return for how many seconds to wait for the client at most."""
        wait_s, overdue = self._cache.next_look(self._connection, self._answer_s)
        if overdue is not None:
            raise _SlowClientError(f"{short_type(overdue)}: no answer for {self._answer_s:g} s")
        return wait_s

    async def _send(self, context: Context) -> None:
        for response in self._cache.take(self._connection):
            encoded = self._wire.write(response, ttl=self._ttl).SerializeToString()
            labels = (self._role, type_label(response.type_url))
            self._sent_at[response.nonce] = time.monotonic()
            self._metrics.pushes.labels(*labels).inc()
            self._metrics.bytes.labels(*labels).inc(len(encoded))
            try:
                async with asyncio.timeout(self._answer_s):
                    await context.write(encoded)
            except TimeoutError:
                reason = f"{labels[1]}: a response was not read for {self._answer_s:g} s"
                raise _SlowClientError(reason) from None

    async def _read_all(self, first: Message, context: Context) -> None:
        message: Message | None = first
        while message is not None:
            self._receive(self._request(message))
            message = await read(context, self._wire)

    def _request(self, message: Message) -> Request:
        """Return what a message says. Raises ProtocolError."""
        node, type_url = self._connection.node, self._connection.service.type_url
        if message.node.id or message.node.cluster:
            try:
                key = checked_key(message.node.cluster, message.node.id)
            except UnknownNodeError as error:
                raise ProtocolError(str(error)) from error
            if key != node.key:
                raise ProtocolError(f"node changed from {_said(node.key)} to {_said(key)} in mid-stream")
        if type_url is not None:
            if message.type_url not in {"", type_url}:
                raise ProtocolError(f"type_url {message.type_url}: this stream is about {type_url} only")
            message.type_url = type_url
        return self._wire.read(message)

    def _receive(self, request: Request) -> None:
        """Take a request. Raises ProtocolError."""
        settled = self._cache.receive(self._connection, request)
        if settled is None:
            return
        labels = (self._role, type_label(settled.type_url))
        elapsed = time.monotonic() - self._sent_at.pop(settled.nonce, time.monotonic())
        if settled.error is None:
            self._metrics.ack_seconds.labels(*labels).observe(elapsed)
            return
        self._metrics.nacks.labels(*labels).inc()
        log.warning(
            "resources_refused",
            role=self._role,
            node=self._connection.node.key.node_id,
            type=labels[1],
            names=list(settled.refused[:_LOGGED_NAMES]),
            count=len(settled.refused),
            error=settled.error,
        )

    async def _conclude(self, reading: asyncio.Task[None], context: Context) -> None:
        """End the stream as its reading ended: in order, or with what the client did wrong."""
        error = reading.exception()
        if isinstance(error, ProtocolError):
            self._metrics.refused.labels("protocol").inc()
            log.warning("ads_protocol_broken", node=self._connection.node.key.node_id, reason=str(error))
            await close(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        elif error is not None:
            raise error


async def close(context: Context, code: grpc.StatusCode, details: str) -> None:
    """End a stream with a status. A client that does not read hears of it when it does."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await context.abort(code, details)


def _said(key: NodeKey) -> str:
    return f"{key.role} {key.node_id!r}"


async def read(context: Context, wire: Wire) -> Message | None:
    """Return the next request; None when the client has ended. Raises ProtocolError."""
    encoded = await context.read()
    if encoded is grpc.aio.EOF:  # type: ignore[attr-defined]  # a gap in the stubs
        return None
    try:
        message: Message = wire.request.FromString(encoded)
    except DecodeError as error:
        raise ProtocolError(f"{wire.request.DESCRIPTOR.name}: the bytes are none") from error
    return message
