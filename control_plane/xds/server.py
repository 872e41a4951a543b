"""The xDS server: the sockets around SnapshotCache.

Generic handlers with our own slim messages: only names and numbers of fields
travel, and upb encodes them hundreds of times faster than generated Python.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, NoReturn

import grpc
import grpc.aio
import structlog
from prometheus_client import CollectorRegistry

from control_plane.xds import delta, sotw
from control_plane.xds.cache import SnapshotCache
from control_plane.xds.messages import ProtocolError
from control_plane.xds.metrics import XdsMetrics
from control_plane.xds.node import ROLES, Node, UnknownNodeError, read_node
from control_plane.xds.services import AGGREGATED, SERVICES, Service
from control_plane.xds.stream import Context, Message, Stream, Wire, read
from wire.gen.gaugeway.envoy.v1 import discovery_pb2

log = structlog.get_logger(__name__)

SERVICE: Final = AGGREGATED.name
STOP_S: Final = 2.0
ANSWER_S: Final = 60.0
MAX_STREAMS: Final = 10_000
MAX_NODES: Final = 10_000
# Of services for single resources Envoy opens a stream for each cluster, and two while one is replaced.
MAX_NODE_STREAMS: Final = 1_000
_MAX_REQUEST_BYTES: Final = 16 << 20  # a reconnect states the version of every sensor

_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # a second control plane on the port is an error, not a rival
    ("grpc.max_receive_message_length", _MAX_REQUEST_BYTES),
    # A client that hangs, or whose machine is gone, is noticed within 20 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # gRPC waits for the longer of the two: by default a minute
    ("grpc.http2.max_pings_without_data", 0),  # by default a quiet stream is asked for signs of life twice
    # Clients ping every 10 s or so; by default the third ping on a quiet stream would end the connection.
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
)

_DELTA: Final = Wire("delta", discovery_pb2.DeltaDiscoveryRequest, delta.read_request, delta.write_response)
_SOTW: Final = Wire("sotw", discovery_pb2.DiscoveryRequest, sotw.read_request, sotw.write_response)
_METHODS: Final = {"Delta": _DELTA, "Stream": _SOTW}

Handler = Callable[[AsyncIterator[Message], Context], Awaitable[None]]


class AdsServer:
    """Serves the snapshots of `cache` over xDS, and `services`; its counters are in `registry`.

    Args:
        cache: The snapshots.
        registry: Of the counters.
        services: Other gRPC services on the same port.
        answer_s: A client that does not read, or does not answer, for that long is cut off.
        max_streams: Streams beyond it are refused; so are as many that have not said yet whose they are.
        max_node_streams: So are streams of one node beyond it.
        max_nodes: So are nodes beyond it, known ones that are away among them.
    """

    def __init__(
        self,
        cache: SnapshotCache,
        registry: CollectorRegistry | None = None,
        services: Sequence[grpc.GenericRpcHandler[Any, Any]] = (),
        *,
        answer_s: float = ANSWER_S,
        max_streams: int = MAX_STREAMS,
        max_node_streams: int = MAX_NODE_STREAMS,
        max_nodes: int = MAX_NODES,
    ) -> None:
        self._cache = cache
        self._services = tuple(services)
        self._metrics = XdsMetrics(registry or CollectorRegistry())
        for role in ROLES:
            self._metrics.connected.labels(role).set_function(partial(cache.connected, role))
        self._answer_s = answer_s
        self._max_streams = max_streams
        self._max_node_streams = max_node_streams
        self._max_nodes = max_nodes
        self._silent = 0  # streams of clients that have not said yet who they are
        self._server: grpc.aio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port (`port` 0: chosen by the system). Raises OSError if it is taken."""
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers((*map(self._handlers, SERVICES), *self._services))
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

    def _handlers(self, service: Service) -> grpc.GenericRpcHandler[Any, Any]:
        methods = {
            f"{prefix}{service.noun}": grpc.stream_stream_rpc_method_handler(
                self._handler(service, wire),
                request_deserializer=bytes,  # decoded where it can be said what is wrong with it
                response_serializer=bytes,  # encoded where its size is counted
            )
            for prefix, wire in _METHODS.items()
        }
        return grpc.method_handlers_generic_handler(service.name, methods)

    def _handler(self, service: Service, wire: Wire) -> Handler:
        async def handle(_: AsyncIterator[Message], context: Context) -> None:
            await self._serve(service, wire, context)

        return handle

    async def _serve(self, service: Service, wire: Wire, context: Context) -> None:
        """Serve one stream to its end."""
        first = await self._first(wire, context)
        if first is None:
            return
        try:
            node = read_node(first.node)
        except UnknownNodeError as error:
            await self._refuse(context, "node", grpc.StatusCode.INVALID_ARGUMENT, str(error))
        excess = self._excess(node, service)
        if excess is not None:
            await self._refuse(context, "limit", grpc.StatusCode.RESOURCE_EXHAUSTED, excess)
        connection = self._cache.connect(node, variant=wire.variant, service=service)
        streams = self._metrics.streams.labels(node.key.role, wire.variant)
        streams.inc()
        log.info(
            "node_connected",
            role=node.key.role,
            node=node.key.node_id,
            service=service.noun,
            variant=wire.variant,
        )
        stream = Stream(self._cache, connection, self._metrics, wire, self._answer_s)
        try:
            # A client that is told nothing new for hours still learns that it is connected.
            await context.send_initial_metadata(())
            await stream.serve(first, context)
        finally:
            self._cache.disconnect(connection)
            streams.dec()
            log.info("node_disconnected", role=node.key.role, node=node.key.node_id, service=service.noun)

    async def _first(self, wire: Wire, context: Context) -> Message | None:
        """Return the first request, which says who the client is; None when it has ended."""
        if self._silent >= self._max_streams:
            await self._refuse(context, "limit", grpc.StatusCode.RESOURCE_EXHAUSTED, self._full())
        self._silent += 1
        try:
            async with asyncio.timeout(self._answer_s):
                return await read(context, wire)
        except TimeoutError:
            reason = f"no request came for {self._answer_s:g} s"
            await self._refuse(context, "silent", grpc.StatusCode.DEADLINE_EXCEEDED, reason)
        except ProtocolError as error:
            await self._refuse(context, "protocol", grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            self._silent -= 1

    def _excess(self, node: Node, service: Service) -> str | None:
        """Return which limit a stream of this node would go beyond; None if none."""
        replaces = self._cache.replaced(node.key, service) is not None
        if self._cache.streams - replaces >= self._max_streams:
            return self._full()
        if self._cache.size >= self._max_nodes and not self._cache.knows(node.key):
            return f"the control plane knows {self._max_nodes} nodes already, which is its limit"
        if self._cache.streams_of(node.key) - replaces >= self._max_node_streams:
            return f"node {node.key.node_id} has {self._max_node_streams} streams already, which is the limit"
        return None

    def _full(self) -> str:
        return f"the control plane has {self._max_streams} streams already, which is its limit"

    async def _refuse(self, context: Context, reason: str, code: grpc.StatusCode, details: str) -> NoReturn:
        self._metrics.refused.labels(reason).inc()
        log.warning("ads_stream_refused", peer=context.peer(), reason=details)
        await context.abort(code, details)
