"""AppendRows requests, and what their answers say: between our values and the API's messages. Pure."""

from __future__ import annotations

from google.api_core.exceptions import GoogleAPICallError
from google.cloud.bigquery_storage_v1 import types
from google.rpc.status_pb2 import Status

from ext_proc.sinks.bigquery.errors import Code, Refusal

_DETAILS_KEY = "grpc-status-details-bin"


def append_request(stream: str, offset: int, batch: bytes, schema: bytes | None) -> types.AppendRowsRequest:
    """Return a request to append one Arrow record batch at `offset`.

    Args:
        stream: The stream's full name; in every request, since emulators ask for it.
        offset: Rows before it in the stream.
        batch: The record batch as an Arrow IPC message.
        schema: Its schema as an Arrow IPC message: in the first request of a connection.
    """
    rows = types.AppendRowsRequest.ArrowData(rows=types.ArrowRecordBatch(serialized_record_batch=batch))
    if schema is not None:
        rows.writer_schema = types.ArrowSchema(serialized_schema=schema)
    return types.AppendRowsRequest(write_stream=stream, offset=offset, arrow_rows=rows)


def refusal_in(response: types.AppendRowsResponse) -> Refusal | None:
    """Return what an answer refuses; None if it acknowledges."""
    message = types.AppendRowsResponse.pb(response)
    if not message.HasField("error") and not message.row_errors:
        return None
    return Refusal(
        code=message.error.code or Code.INVALID_ARGUMENT,
        message=message.error.message,
        storage_error=_storage_error(message.error),
        row_errors={error.index: error.message for error in message.row_errors},
    )


def refusal_of(error: GoogleAPICallError) -> Refusal:
    """Return what the end of a call, or a refused call, says."""
    call = error.response
    status = Status()
    for key, value in (call.trailing_metadata() or ()) if hasattr(call, "trailing_metadata") else ():
        if key == _DETAILS_KEY:
            status.ParseFromString(value)
    code = error.grpc_status_code.value[0] if error.grpc_status_code is not None else Code.UNKNOWN
    return Refusal(code=code, message=error.message, storage_error=_storage_error(status))


def _storage_error(status: Status) -> str | None:
    for detail in status.details:
        found = types.StorageError.pb()()
        if detail.Is(found.DESCRIPTOR):
            detail.Unpack(found)
            return str(types.StorageError.StorageErrorCode(found.code).name)
    return None
