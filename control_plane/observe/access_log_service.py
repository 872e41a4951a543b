"""The access log service: Envoys stream to it what failed in them.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/accesslog/v3/als.proto
"""

from __future__ import annotations

import time
from typing import Any, Final

import grpc
import grpc.aio
import structlog
from prometheus_client import CollectorRegistry, Counter

from control_plane.observe.access_log import UnreadableLogError, failures, read_message
from control_plane.observe.failures import LastFailures
from control_plane.observe.streams import OpenStreams, StreamsFullError
from control_plane.xds.node import UnknownNodeError, checked_key
from wire.gen.gaugeway.envoy.v1 import access_log_pb2, discovery_pb2
from wire.names import ENVOY_ROLE

log = structlog.get_logger(__name__)

SERVICE: Final = "envoy.service.accesslog.v3.AccessLogService"
MAX_MESSAGE_BYTES: Final = 1 << 20  # Envoy flushes at 16 KiB and a bit
MAX_STREAMS: Final = 4_096  # an Envoy has one a thread

Context = grpc.aio.ServicerContext[bytes, bytes]
_RESPONSE: Final = access_log_pb2.StreamAccessLogsResponse().SerializeToString()


class AccessLogService:
    """Notes in `last` what Envoys say; its counters are in `registry`.

    A message that cannot be read is passed over and counted: what was sent
    before it and comes after it is as good as it was.
    """

    def __init__(self, last: LastFailures, registry: CollectorRegistry | None = None) -> None:
        self._last = last
        self._streams = OpenStreams(MAX_STREAMS)
        registry = registry or CollectorRegistry()
        self._entries = Counter(
            "gaugeway_access_log_entries",
            "Failed streams that Envoys told of, by response flag (none: by status alone).",
            ["flag"],
            registry=registry,
        )
        self._refused = Counter(
            "gaugeway_access_log_refused",
            "Messages of the access log that were not taken.",
            ["reason"],
            registry=registry,
        )
        self._strangers = Counter(
            "gaugeway_access_log_strangers",
            "Failed streams that belong to no sensor that there is.",
            registry=registry,
        )

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """Return what a gRPC server serves."""
        # Messages come as bytes: one that is broken must not end the stream.
        method = grpc.stream_unary_rpc_method_handler(self._stream)
        return grpc.method_handlers_generic_handler(SERVICE, {"StreamAccessLogs": method})

    def close(self) -> None:
        """End every stream, with UNAVAILABLE: Envoy begins another with what it has to say next."""
        self._streams.close()

    async def _stream(self, _: object, context: Context) -> bytes:
        try:
            with self._streams.opened():
                await self._read_all(context)
        except StreamsFullError as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        return _RESPONSE

    async def _read_all(self, context: Context) -> None:
        node = ""
        while (data := await self._streams.read(context)) is not None:
            message = self._readable(data)
            if message is None:
                continue
            if message.HasField("identifier"):
                node = _envoy(message.identifier.node)
            if not node:
                self._refused.labels("no_node").inc()
                await context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"identifier.node must name an Envoy: a DNS label as its id, {ENVOY_ROLE} as its cluster",
                )
            self._note(message, node)
        if self._streams.closing:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the control plane is stopping")

    def _readable(self, data: bytes) -> access_log_pb2.StreamAccessLogsMessage | None:
        if len(data) > MAX_MESSAGE_BYTES:
            self._refused.labels("too_large").inc()
            log.warning("access_log_refused", bytes=len(data), limit=MAX_MESSAGE_BYTES)
            return None
        try:
            return read_message(data)
        except UnreadableLogError as error:
            self._refused.labels("unreadable").inc()
            log.warning("access_log_refused", reason=str(error))
            return None

    def _note(self, message: access_log_pb2.StreamAccessLogsMessage, node: str) -> None:
        for sensor_id, failure in failures(message, node, time.time_ns()):
            for flag in failure.flags or ("none",):
                self._entries.labels(flag).inc()
            if not self._last.note(sensor_id, failure):
                self._strangers.inc()


def _envoy(node: discovery_pb2.Node) -> str:
    """Return an Envoy's node id, which failures are kept with; empty if it names none."""
    try:
        key = checked_key(node.cluster, node.id)
    except UnknownNodeError:
        return ""
    return key.node_id if key.role == ENVOY_ROLE else ""
