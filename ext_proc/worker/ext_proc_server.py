"""The ext_proc server: Envoy shows each stream's response here, piece by piece.

Protocol: https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/ext_proc/v3/external_processor.proto
with response_body_mode FULL_DUPLEX_STREAMED. The response headers are answered;
the body is taken and never answered, so nothing of it goes on to the follower.

A handler that returned would end its gRPC stream with OK, and Envoy would then
pass the rest of the body to the follower unprocessed, whatever
`failure_mode_allow` says. So no path here returns: every stream ends with an
abort, after which Envoy resets it. That loses nothing, since the follower is
what opens a stream again, from the cursor.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, NoReturn, Protocol

import grpc
import grpc.aio
import structlog

from ext_proc.follower.attempt import RefusedError
from ext_proc.journal.errors import ShardClosedError
from wire.gen.gaugeway.envoy.v1 import ext_proc_pb2
from wire.names import LEASE_HEADER, SENSOR_HEADER

log = structlog.get_logger(__name__)

STOP_S: Final = 2.0
SERVICE: Final = "envoy.service.ext_proc.v3.ExternalProcessor"

# Without bdp_probe 0, gRPC's own buffers grow to hundreds of MB under a slow
# consumer; the default limit of pending requests silently drops bursts of opens.
_OPTIONS: Final = (
    ("grpc.http2.bdp_probe", 0),
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.so_reuseport", 0),
)

_REQUEST_ANSWER: Final = ext_proc_pb2.ProcessingResponse(request_headers=ext_proc_pb2.HeadersResponse())
_RESPONSE_ANSWER: Final = ext_proc_pb2.ProcessingResponse(response_headers=ext_proc_pb2.HeadersResponse())

Context = grpc.aio.ServicerContext[ext_proc_pb2.ProcessingRequest, ext_proc_pb2.ProcessingResponse]


class Consumer(Protocol):
    """What takes one stream (ext_proc.follower.attempt.StreamAttempt)."""

    def claim(self) -> bool:
        """Take the stream; False if another one was taken for the same token."""
        ...

    @property
    def sensor_id(self) -> str:
        """The sensor that the token was issued for."""
        ...

    def on_headers(self, status: int, content_type: str) -> None:
        """Check the response's head; raises to end the stream."""
        ...

    async def on_body(self, data: bytes) -> None:
        """Take a piece of body; returns when the next may be read; raises to end the stream."""
        ...

    def on_end(self, *, complete: bool) -> None:
        """Nothing more will come; `complete`: the response ended in order, it was not cut."""
        ...


class Consumers(Protocol):
    """Where the streams that this worker opened are found by their token."""

    def find(self, token: str) -> Consumer | None:
        """Return what takes the stream with `token`; None if the follower did not issue it."""
        ...


class ExtProcServer:
    """Serves Envoy on a Unix socket."""

    def __init__(self, consumers: Consumers) -> None:
        self._consumers = consumers
        self._server: grpc.aio.Server | None = None
        self._streams: set[asyncio.Task[None]] = set()

    async def start(self, socket: Path) -> None:
        """Listen on `socket`; gRPC replaces one that a dead worker left over."""
        server = grpc.aio.server(options=_OPTIONS)
        handler = grpc.stream_stream_rpc_method_handler(
            self._process,
            request_deserializer=ext_proc_pb2.ProcessingRequest.FromString,
            response_serializer=ext_proc_pb2.ProcessingResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"Process": handler}),)
        )
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Abort what is still open, then stop listening."""
        for stream in self._streams:
            stream.cancel()
        if self._streams:
            await asyncio.wait(self._streams, timeout=STOP_S)
        if self._server is not None:
            await self._server.stop(grace=None)

    async def _process(self, _: AsyncIterator[ext_proc_pb2.ProcessingRequest], context: Context) -> NoReturn:
        """Take one stream to its end, which is always an abort."""
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        try:
            await self._serve(context)
        except (RefusedError, ShardClosedError) as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except asyncio.CancelledError:  # by `stop`; or Envoy is gone, and then this says it to nobody
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the worker is stopping")
        finally:
            self._streams.discard(task)
        await context.abort(grpc.StatusCode.ABORTED, "the stream is over")

    async def _serve(self, context: Context) -> None:
        metadata = {str(key): value for key, value in context.invocation_metadata() or ()}
        token, sensor_id = str(metadata.get(LEASE_HEADER, "")), metadata.get(SENSOR_HEADER)
        consumer = self._consumers.find(token)
        if consumer is None or consumer.sensor_id != sensor_id or not consumer.claim():
            log.warning("unknown_stream_refused", sensor=sensor_id)
            raise RefusedError("the follower opened no such stream")
        complete = False
        try:
            complete = await self._consume(consumer, context)
        finally:
            consumer.on_end(complete=complete)

    async def _consume(self, consumer: Consumer, context: Context) -> bool:
        """Feed `consumer` until the body ends (True) or is cut (False)."""
        while (request := await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]  # a gap in the stubs
            kind = request.WhichOneof("request")
            if kind == "response_body":
                await consumer.on_body(request.response_body.body)
                if request.response_body.end_of_stream:
                    return True
            elif kind == "response_headers":
                headers = _headers(request.response_headers)
                consumer.on_headers(int(headers.get(":status", "0")), headers.get("content-type", ""))
                await context.write(_RESPONSE_ANSWER)
                if request.response_headers.end_of_stream:
                    return True
            elif kind == "request_headers":
                await context.write(_REQUEST_ANSWER)
            elif kind == "response_trailers":
                return True
            else:
                raise RefusedError(f"Envoy sent {kind}, which it is not configured to send")
        return False


def _headers(message: ext_proc_pb2.HttpHeaders) -> dict[str, str]:
    """Return headers as text; Envoy fills either `value` or `raw_value`."""
    return {
        header.key: header.value or header.raw_value.decode("latin-1") for header in message.headers.headers
    }
