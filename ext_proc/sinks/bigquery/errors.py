"""What each refusal of the Storage Write API means for the writer. Pure.

Sources: https://cloud.google.com/bigquery/docs/write-api-best-practices and the
comments of google/cloud/bigquery/storage/v1/storage.proto (AppendRowsResponse,
StorageError). A StorageError is the more exact word and goes before the code.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


class Code(enum.IntEnum):
    """google.rpc.Code."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Action(enum.Enum):
    """What the writer does next."""

    ACCEPT = "the rows are there already, by an earlier try: go on"
    DROP_ROWS = "nothing of the request was written: take the named rows out, send the rest again"
    RECONNECT = "open a new connection and go on after the last row that was acknowledged"
    NEW_STREAM = "the stream takes no more: ask how far it came, go on in another one"
    ADD_COLUMNS = "the table lacks columns: add them, then reconnect"
    BACK_OFF = "the service asks for less: let the driver wait"
    STOP = "nothing changes until someone acts"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the service answered instead of an acknowledgement.

    Attributes:
        code: google.rpc.Code, also one that this version does not know.
        message: The service's own words.
        storage_error: Name of the StorageError.StorageErrorCode in the status, where there is one.
        row_errors: Row of the request (from 0) to the service's reason.
    """

    code: int
    message: str
    storage_error: str | None = None
    row_errors: Mapping[int, str] = field(default_factory=dict)


_BY_STORAGE_ERROR: Final = {
    "OFFSET_ALREADY_EXISTS": Action.ACCEPT,
    "OFFSET_OUT_OF_RANGE": Action.RECONNECT,
    "STREAM_FINALIZED": Action.NEW_STREAM,
    "STREAM_NOT_FOUND": Action.NEW_STREAM,
    "STREAM_ALREADY_COMMITTED": Action.NEW_STREAM,
    "INVALID_STREAM_STATE": Action.NEW_STREAM,
    "INVALID_STREAM_TYPE": Action.NEW_STREAM,
    "SCHEMA_MISMATCH_EXTRA_FIELDS": Action.ADD_COLUMNS,
    "TABLE_NOT_FOUND": Action.STOP,
    "KMS_SERVICE_ERROR": Action.BACK_OFF,
    "KMS_PERMISSION_DENIED": Action.STOP,
    "CMEK_NOT_PROVIDED": Action.STOP,
    "INVALID_CMEK_PROVIDED": Action.STOP,
    "CMEK_ENCRYPTION_ERROR": Action.STOP,
}

_BY_CODE: Final[dict[int, Action]] = {
    Code.ALREADY_EXISTS: Action.ACCEPT,
    # Behind a request that was refused, or a view of the stream that lags: both pass with a reconnect.
    Code.OUT_OF_RANGE: Action.RECONNECT,
    Code.ABORTED: Action.RECONNECT,
    Code.UNAVAILABLE: Action.RECONNECT,
    Code.INTERNAL: Action.RECONNECT,
    Code.CANCELLED: Action.RECONNECT,
    Code.DEADLINE_EXCEEDED: Action.RECONNECT,
    Code.UNKNOWN: Action.RECONNECT,
    Code.RESOURCE_EXHAUSTED: Action.BACK_OFF,
    Code.NOT_FOUND: Action.NEW_STREAM,
    Code.FAILED_PRECONDITION: Action.NEW_STREAM,
}


def classify(refusal: Refusal) -> Action:
    """Return what to do about a refused append. What no table names is STOP: it is never retried blindly."""
    if refusal.row_errors:
        return Action.DROP_ROWS
    if refusal.storage_error in _BY_STORAGE_ERROR:
        return _BY_STORAGE_ERROR[refusal.storage_error]
    return _BY_CODE.get(refusal.code, Action.STOP)


def classify_opening(refusal: Refusal) -> Action:
    """Return what to do when a stream could not be made, or asked how far it came."""
    action = classify(refusal)
    return action if action in {Action.RECONNECT, Action.BACK_OFF} else Action.STOP


_ADVICE: Final[dict[int, str]] = {
    Code.PERMISSION_DENIED: "grant the sink's account roles/bigquery.dataEditor on the dataset",
    Code.UNAUTHENTICATED: "check the credentials that GOOGLE_APPLICATION_CREDENTIALS names",
    Code.NOT_FOUND: "check project and dataset; the sink makes its tables, but not the dataset",
    Code.UNIMPLEMENTED: "grpc_endpoint does not offer the Storage Write API",
}


def sentence(refusal: Refusal, table: str) -> str:
    """Return what happened, and what to do about it where that is known."""
    codes = {int(code): code.name for code in Code}
    what = ", ".join(filter(None, (codes.get(refusal.code, str(refusal.code)), refusal.storage_error)))
    advice = _ADVICE.get(Code.NOT_FOUND if refusal.storage_error == "TABLE_NOT_FOUND" else refusal.code)
    text = f"{table}: BigQuery answered {what}: {refusal.message}"
    return f"{text} ({advice})" if advice else text


def classify_http(status: int, reason: str | None) -> Action:
    """Return what to do about a refused REST request: STOP, BACK_OFF or RECONNECT.

    https://cloud.google.com/bigquery/docs/error-messages: 403 also stands for
    limits, which its `reason` tells apart.
    """
    if reason in {"rateLimitExceeded", "quotaExceeded", "jobRateLimitExceeded"} or status == 429:
        return Action.BACK_OFF
    # 409 and 412: someone else made or changed the table at the same moment.
    return Action.RECONNECT if status >= 500 or status in {408, 409, 412} else Action.STOP
