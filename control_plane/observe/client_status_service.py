"""The client status discovery service: which node runs what, for any standard client.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/status/v3/csds.proto
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import grpc
import grpc.aio
from prometheus_client import CollectorRegistry, Counter

from control_plane.observe.client_status import client_config
from control_plane.observe.node_matchers import MatcherError, check_matchers, matches
from control_plane.observe.streams import OpenStreams, StreamsFullError
from control_plane.reconcile.standing import NOT_HELD, Held
from control_plane.xds.cache import SnapshotCache
from control_plane.xds.node import NodeKey
from wire.gen.gaugeway.envoy.v1 import client_status_pb2 as pb

SERVICE: Final = "envoy.service.status.v3.ClientStatusDiscoveryService"
MAX_RESPONSE_BYTES: Final = 32 << 20
MAX_STREAMS: Final = 16  # each holds a response at most

Context = grpc.aio.ServicerContext[pb.ClientStatusRequest, pb.ClientStatusResponse]


class TooMuchError(Exception):
    """The answer would be larger than one message may be; the text says what to ask instead."""


class ClientStatusService:
    """Answers from `cache`; its counters are in `registry`."""

    def __init__(
        self,
        cache: SnapshotCache,
        registry: CollectorRegistry | None = None,
        held: Callable[[NodeKey], Held] = lambda _: NOT_HELD,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        """`held` returns what the pre-flight check keeps back from a node."""
        self._cache = cache
        self._held = held
        self._max_response_bytes = max_response_bytes
        self._streams = OpenStreams(MAX_STREAMS)
        self._requests = Counter(
            "gaugeway_client_status_requests",
            "Requests for the status of clients, by the gRPC status of the answer.",
            ["status"],
            registry=registry or CollectorRegistry(),
        )

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """Return what a gRPC server serves."""
        read, write = pb.ClientStatusRequest.FromString, pb.ClientStatusResponse.SerializeToString
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "StreamClientStatus": grpc.stream_stream_rpc_method_handler(self._stream, read, write),
            "FetchClientStatus": grpc.unary_unary_rpc_method_handler(self._fetch, read, write),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def close(self) -> None:
        """End every stream."""
        self._streams.close()

    async def _fetch(self, request: pb.ClientStatusRequest, context: Context) -> pb.ClientStatusResponse:
        try:
            with self._streams.opened():
                return await self._answer(request, context)
        except StreamsFullError as error:
            await self._refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, error)
            raise

    async def _stream(self, _: object, context: Context) -> None:
        """Answer each request of a stream with where everything stands then."""
        try:
            with self._streams.opened():
                while (request := await self._streams.read(context)) is not None:
                    await context.write(await self._answer(request, context))
        except StreamsFullError as error:
            await self._refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, error)
        if self._streams.closing:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the control plane is stopping")

    async def _answer(self, request: pb.ClientStatusRequest, context: Context) -> pb.ClientStatusResponse:
        try:
            response = await self._status(request)
        except MatcherError as error:
            await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, error)
            raise
        except TooMuchError as error:
            await self._refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, error)
            raise
        self._requests.labels("OK").inc()
        return response

    async def _status(self, request: pb.ClientStatusRequest) -> pb.ClientStatusResponse:
        """Return the status of the nodes that are meant. Raises MatcherError, TooMuchError."""
        check_matchers(request.node_matchers)
        response = pb.ClientStatusResponse()
        size = 0
        for key in [node.key for node in self._cache.nodes()]:
            node = self._cache.node(key)
            if node is None or not matches(request.node_matchers, key.node_id, node.metadata):
                continue
            contents = not request.exclude_resource_contents
            config = client_config(node, self._cache.published(key), self._held(key), contents=contents)
            size += config.ByteSize()
            if size > self._max_response_bytes:
                raise TooMuchError(
                    f"the answer would be larger than {self._max_response_bytes} bytes: name fewer nodes "
                    "with node_matchers, or set exclude_resource_contents"
                )
            response.config.append(config)
            await asyncio.sleep(0)  # a large fleet must not hold up what goes to the nodes
        return response

    async def _refuse(self, context: Context, status: grpc.StatusCode, error: Exception) -> None:
        self._requests.labels(status.name).inc()
        await context.abort(status, str(error))
