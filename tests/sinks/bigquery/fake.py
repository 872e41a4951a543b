"""A small Storage Write service, for what no emulator does: lost answers, StorageErrors, silence.

It is as strict as the service about what the sink relies on: offsets, the
stream's name in every request, the schema in the first of a connection, and
columns that the table has.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1 import types
from google.rpc.status_pb2 import Status

from ext_proc.sinks.bigquery.errors import Code

SERVICE = "google.cloud.bigquery.storage.v1.BigQueryWrite"
StorageErrorCode = types.StorageError.StorageErrorCode


@dataclass(frozen=True)
class Refuse:
    """Answer with an error, write nothing."""

    code: Code
    storage_error: str | None = None
    row_errors: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """End the call with an error, before or after the rows are written: the answer is lost."""

    written: bool
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    storage_error: str | None = None


@dataclass(frozen=True)
class End:
    """Close the call in order, without an answer to this request."""


@dataclass(frozen=True)
class Silence:
    """Write, and never answer."""


@dataclass(frozen=True)
class Hold:
    """Answer when the event is set."""

    until: asyncio.Event


Step = Refuse | Cut | End | Silence | Hold


@dataclass
class Stream:
    """A COMMITTED stream."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    finalized: bool = False


@dataclass
class FakeWriteService:
    """Streams of one table.

    Attributes:
        columns: Columns that the table has; None takes all.
        poison: Says why a row is refused, or None.
        plan: What happens to the next requests, one step each; then all goes well.
    """

    columns: set[str] | None = None
    poison: Callable[[dict[str, Any]], str | None] = lambda _row: None
    plan: deque[Step] = field(default_factory=deque)
    refuse_streams: deque[grpc.StatusCode] = field(default_factory=deque)
    streams: dict[str, Stream] = field(default_factory=dict)
    connections: int = 0
    requests: int = 0
    largest: int = 0
    address: str = ""

    def rows(self) -> list[dict[str, Any]]:
        """Return every row in the table."""
        return [row for stream in self.streams.values() for row in stream.rows]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[FakeWriteService]:
        """Serve on a port of the system's choice."""
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
        handlers = {
            "CreateWriteStream": grpc.unary_unary_rpc_method_handler(
                self._create,
                types.CreateWriteStreamRequest.deserialize,
                types.WriteStream.serialize,
            ),
            "FinalizeWriteStream": grpc.unary_unary_rpc_method_handler(
                self._finalize,
                types.FinalizeWriteStreamRequest.deserialize,
                types.FinalizeWriteStreamResponse.serialize,
            ),
            "AppendRows": grpc.stream_stream_rpc_method_handler(
                self._append_rows,
                types.AppendRowsRequest.deserialize,
                types.AppendRowsResponse.serialize,
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        try:
            yield self
        finally:
            await server.stop(None)

    async def _create(
        self, request: types.CreateWriteStreamRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> types.WriteStream:
        if self.refuse_streams:
            await context.abort(self.refuse_streams.popleft(), "as planned")
        assert request.write_stream.type_ == types.WriteStream.Type.COMMITTED
        name = f"{request.parent}/streams/{uuid.uuid4().hex}"
        self.streams[name] = Stream()
        return types.WriteStream(name=name, type_=types.WriteStream.Type.COMMITTED)

    async def _finalize(
        self, request: types.FinalizeWriteStreamRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> types.FinalizeWriteStreamResponse:
        stream = self.streams.get(request.name)
        if stream is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such stream")
            raise AssertionError
        stream.finalized = True
        return types.FinalizeWriteStreamResponse(row_count=len(stream.rows))

    async def _append_rows(
        self,
        requests: AsyncIterator[types.AppendRowsRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[types.AppendRowsResponse]:
        self.connections += 1
        schema: pa.Schema | None = None
        async for request in requests:
            self.requests += 1
            self.largest = max(self.largest, types.AppendRowsRequest.pb(request).ByteSize())
            if request.arrow_rows.writer_schema.serialized_schema:
                schema = pa.ipc.read_schema(pa.py_buffer(request.arrow_rows.writer_schema.serialized_schema))
            assert schema is not None, "the schema must come with the first request of a connection"
            assert request.write_stream, "the stream must be named in every request"
            step = self.plan.popleft() if self.plan else None
            if isinstance(step, Cut):
                if step.written:
                    self._write(request, schema)
                await _abort(context, step)
            if isinstance(step, End):
                return
            if isinstance(step, Refuse):
                yield _error(step.code, step.storage_error, step.row_errors)
                continue
            answer = self._write(request, schema)
            if isinstance(step, Silence):
                await asyncio.Event().wait()
            if isinstance(step, Hold):
                await step.until.wait()
            yield answer

    def _write(self, request: types.AppendRowsRequest, schema: pa.Schema) -> types.AppendRowsResponse:
        stream = self.streams.get(request.write_stream)
        problem = self._problem(stream, request.offset, schema)
        if stream is None or problem is not None:
            return _error(*(problem or (Code.NOT_FOUND, "STREAM_NOT_FOUND")))
        data = pa.py_buffer(request.arrow_rows.rows.serialized_record_batch)
        rows = pa.ipc.read_record_batch(data, schema).to_pylist()
        refused = dict(self._refused(rows))
        if refused:
            return _error(Code.INVALID_ARGUMENT, None, refused)
        stream.rows += rows
        result = types.AppendRowsResponse.AppendResult(offset=request.offset)
        return types.AppendRowsResponse(append_result=result)

    def _problem(self, stream: Stream | None, offset: int, schema: pa.Schema) -> tuple[Code, str] | None:
        if stream is None:
            return None
        if stream.finalized:
            return Code.INVALID_ARGUMENT, "STREAM_FINALIZED"
        if self.columns is not None and not set(schema.names) <= self.columns:
            return Code.INVALID_ARGUMENT, "SCHEMA_MISMATCH_EXTRA_FIELDS"
        if offset < len(stream.rows):
            return Code.ALREADY_EXISTS, "OFFSET_ALREADY_EXISTS"
        if offset > len(stream.rows):
            return Code.OUT_OF_RANGE, "OFFSET_OUT_OF_RANGE"
        return None

    def _refused(self, rows: list[dict[str, Any]]) -> Iterator[tuple[int, str]]:
        for index, row in enumerate(rows):
            reason = self.poison(row)
            if reason is not None:
                yield index, reason


def status(code: Code, storage_error: str | None) -> Status:
    """Return a google.rpc.Status with a StorageError in its details."""
    found = Status(code=code, message="as planned")
    if storage_error is not None:
        detail = types.StorageError(code=StorageErrorCode[storage_error], error_message="as planned")
        found.details.add().Pack(types.StorageError.pb(detail))
    return found


def _error(
    code: Code, storage_error: str | None = None, row_errors: Mapping[int, str] | None = None
) -> types.AppendRowsResponse:
    return types.AppendRowsResponse(
        error=status(code, storage_error),
        row_errors=[
            types.RowError(index=index, code=types.RowError.RowErrorCode.FIELDS_ERROR, message=reason)
            for index, reason in (row_errors or {}).items()
        ],
    )


async def _abort(context: grpc.aio.ServicerContext[Any, Any], step: Cut) -> None:
    if step.storage_error is not None:
        details = status(Code(step.code.value[0]), step.storage_error).SerializeToString()
        context.set_trailing_metadata((("grpc-status-details-bin", details),))
    await context.abort(step.code, "as planned")
