"""The ADS server: the socket around SnapshotCache.

Generic handlers with our own slim messages: only names and numbers of fields
travel, and upb encodes them hundreds of times faster than generated Python.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import grpc
import grpc.aio
import structlog
from prometheus_client import CollectorRegistry

from control_plane.resources.model import short_type
from control_plane.xds.cache import Connection, SnapshotCache
from control_plane.xds.delta import read_node, read_request, write_response
from control_plane.xds.metrics import XdsMetrics
from control_plane.xds.node import UnknownNodeError
from control_plane.xds.session import ProtocolError, Request
from wire.gen.gaugeway.envoy.v1 import discovery_pb2

log = structlog.get_logger(__name__)

SERVICE: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"
STOP_S: Final = 2.0
_MAX_REQUEST_BYTES: Final = 16 << 20  # a reconnect states the version of every sensor

_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # a second control plane on the port is an error, not a rival
    ("grpc.max_receive_message_length", _MAX_REQUEST_BYTES),
    # A client that hangs, or whose machine is gone, is noticed within 20 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Clients ping every 10 s or so; by default the third ping on a quiet stream would end the connection.
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
)

Context = grpc.aio.ServicerContext[discovery_pb2.DeltaDiscoveryRequest, discovery_pb2.DeltaDiscoveryResponse]


class AdsServer:
    """Serves the snapshots of `cache` over Delta ADS, and `services`; its counters are in `registry`."""

    def __init__(
        self,
        cache: SnapshotCache,
        registry: CollectorRegistry | None = None,
        services: Sequence[grpc.GenericRpcHandler[Any, Any]] = (),
    ) -> None:
        self._cache = cache
        self._services = tuple(services)
        self._metrics = XdsMetrics(registry or CollectorRegistry())
        self._server: grpc.aio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port (`port` 0: chosen by the system). Raises OSError if it is taken."""
        server = grpc.aio.server(options=_OPTIONS)
        handler = grpc.stream_stream_rpc_method_handler(
            self._delta,
            request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString,
            response_serializer=discovery_pb2.DeltaDiscoveryResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(SERVICE, {"DeltaAggregatedResources": handler}),
                *self._services,
            )
        )
        try:
            bound = server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise OSError(f"the ADS server cannot listen on {host}:{port}: {error}") from error
        await server.start()
        self._server = server
        return bound

    async def stop(self) -> None:
        """End every stream with UNAVAILABLE, so that clients go on with what they have; then stop."""
        for connection in self._cache.connections():
            connection.end("the control plane is stopping")
        if self._server is not None:
            await self._server.stop(grace=STOP_S)

    async def _delta(self, _: AsyncIterator[discovery_pb2.DeltaDiscoveryRequest], context: Context) -> None:
        """Serve one stream to its end."""
        first = await _read(context)
        if first is None:
            return
        try:
            node = read_node(first)
        except UnknownNodeError as error:
            log.warning("ads_stream_refused", peer=context.peer(), reason=str(error))
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        # A client that is told nothing new for hours still learns that it is connected.
        await context.send_initial_metadata(())
        connection = self._cache.connect(node, time.time_ns())
        gauge = self._metrics.connected.labels(node.key.role)
        gauge.inc()
        log.info("node_connected", role=node.key.role, node=node.key.node_id)
        stream = _Stream(self._cache, connection, self._metrics)
        try:
            await stream.serve(first, context)
        finally:
            gauge.dec()
            self._cache.disconnect(connection)
            log.info("node_disconnected", role=node.key.role, node=node.key.node_id)


class _Stream:
    """One client's stream: a task reads, the handler itself writes."""

    def __init__(self, cache: SnapshotCache, connection: Connection, metrics: XdsMetrics) -> None:
        self._cache = cache
        self._connection = connection
        self._metrics = metrics
        self._sent_at: dict[str, float] = {}  # by nonce, monotonic seconds
        self._role = connection.node.key.role

    async def serve(self, first: discovery_pb2.DeltaDiscoveryRequest, context: Context) -> None:
        """Converse until the client ends, breaks the protocol, or is ended."""
        reading = asyncio.create_task(self._read_all(first, context))
        reading.add_done_callback(lambda _: self._connection.wake())
        try:
            while not reading.done():
                if self._connection.ended is not None:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, self._connection.ended)
                await self._send(context)
                await self._connection.wait()
            await self._conclude(reading, context)
        finally:
            reading.cancel()
            await asyncio.wait({reading})
            if not reading.cancelled():
                reading.exception()  # said where it matters, or of a stream that is gone

    async def _send(self, context: Context) -> None:
        responses = self._cache.take(self._connection)
        now = time.monotonic()
        self._sent_at.update((response.nonce, now) for response in responses)
        for response in responses:
            self._metrics.pushes.labels(self._role, short_type(response.type_url)).inc()
            await context.write(write_response(response))

    async def _read_all(self, first: discovery_pb2.DeltaDiscoveryRequest, context: Context) -> None:
        message: discovery_pb2.DeltaDiscoveryRequest | None = first
        while message is not None:
            self._receive(read_request(message))
            message = await _read(context)

    def _receive(self, request: Request) -> None:
        """Take a request. Raises ProtocolError."""
        settled = self._cache.receive(self._connection, request)
        if settled is None:
            return
        labels = (self._role, short_type(settled.type_url))
        elapsed = time.monotonic() - self._sent_at.pop(settled.nonce)
        if settled.error is None:
            self._metrics.ack_seconds.labels(*labels).observe(elapsed)
            return
        self._metrics.nacks.labels(*labels).inc()
        log.warning(
            "resources_refused",
            role=self._role,
            node=self._connection.node.key.node_id,
            type=labels[1],
            names=list(settled.refused),
            error=settled.error,
        )

    async def _conclude(self, reading: asyncio.Task[None], context: Context) -> None:
        """End the stream as its reading ended: in order, or with what the client did wrong."""
        error = reading.exception()
        if isinstance(error, ProtocolError):
            log.warning("ads_protocol_broken", node=self._connection.node.key.node_id, reason=str(error))
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if error is not None:
            raise error


async def _read(context: Context) -> discovery_pb2.DeltaDiscoveryRequest | None:
    """Return the next request; None when the client has ended."""
    message = await context.read()
    return None if message is grpc.aio.EOF else message  # type: ignore[attr-defined]  # a gap in the stubs
