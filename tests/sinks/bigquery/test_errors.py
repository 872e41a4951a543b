"""Every row of the table of refusals."""

from __future__ import annotations

import pytest
from google.cloud.bigquery_storage_v1 import types
from google.rpc import code_pb2

from ext_proc.sinks.bigquery.appends import refusal_in
from ext_proc.sinks.bigquery.errors import (
    Action,
    Code,
    Refusal,
    classify,
    classify_http,
    classify_opening,
    sentence,
)
from tests.sinks.bigquery.fake import status


@pytest.mark.parametrize(
    ("code", "action"),
    [
        (Code.ALREADY_EXISTS, Action.ACCEPT),
        (Code.OUT_OF_RANGE, Action.RECONNECT),
        (Code.ABORTED, Action.RECONNECT),
        (Code.UNAVAILABLE, Action.RECONNECT),
        (Code.INTERNAL, Action.RECONNECT),
        (Code.CANCELLED, Action.RECONNECT),
        (Code.DEADLINE_EXCEEDED, Action.RECONNECT),
        (Code.UNKNOWN, Action.RECONNECT),
        (Code.RESOURCE_EXHAUSTED, Action.BACK_OFF),
        (Code.NOT_FOUND, Action.NEW_STREAM),
        (Code.FAILED_PRECONDITION, Action.NEW_STREAM),
        (Code.INVALID_ARGUMENT, Action.STOP),
        (Code.PERMISSION_DENIED, Action.STOP),
        (Code.UNAUTHENTICATED, Action.STOP),
        (Code.UNIMPLEMENTED, Action.STOP),
        (Code.DATA_LOSS, Action.STOP),
        (4711, Action.STOP),
    ],
)
def test_codes(code: int, action: Action) -> None:
    """A refusal without a StorageError is judged by its code; an unknown code is never retried."""
    assert classify(Refusal(code, "")) is action


@pytest.mark.parametrize(
    ("storage_error", "action"),
    [
        ("OFFSET_ALREADY_EXISTS", Action.ACCEPT),
        ("OFFSET_OUT_OF_RANGE", Action.RECONNECT),
        ("STREAM_FINALIZED", Action.NEW_STREAM),
        ("STREAM_NOT_FOUND", Action.NEW_STREAM),
        ("STREAM_ALREADY_COMMITTED", Action.NEW_STREAM),
        ("INVALID_STREAM_STATE", Action.NEW_STREAM),
        ("INVALID_STREAM_TYPE", Action.NEW_STREAM),
        ("SCHEMA_MISMATCH_EXTRA_FIELDS", Action.ADD_COLUMNS),
        ("TABLE_NOT_FOUND", Action.STOP),
        ("KMS_SERVICE_ERROR", Action.BACK_OFF),
        ("KMS_PERMISSION_DENIED", Action.STOP),
        ("CMEK_NOT_PROVIDED", Action.STOP),
        ("INVALID_CMEK_PROVIDED", Action.STOP),
        ("CMEK_ENCRYPTION_ERROR", Action.STOP),
    ],
)
def test_storage_errors_go_before_codes(storage_error: str, action: Action) -> None:
    """A StorageError in the status is read, and is more exact than the code."""
    response = types.AppendRowsResponse(error=status(Code.INVALID_ARGUMENT, storage_error))
    refusal = refusal_in(response)
    assert refusal is not None
    assert refusal.storage_error == storage_error
    assert classify(refusal) is action


def test_every_storage_error_of_the_library_is_named() -> None:
    """A new version of the API cannot bring one that nobody thought about."""
    thought_of = {mark.args[1][i][0] for mark in _marks() for i in range(len(mark.args[1]))}
    known = {member.name for member in types.StorageError.StorageErrorCode}
    assert known - thought_of == {"STORAGE_ERROR_CODE_UNSPECIFIED"}


def _marks() -> list[pytest.Mark]:
    marks: list[pytest.Mark] = test_storage_errors_go_before_codes.pytestmark  # type: ignore[attr-defined]
    return marks


def test_row_errors_go_before_all() -> None:
    """Rows that are refused by name are dropped, whatever the code says."""
    response = types.AppendRowsResponse(
        error=status(Code.INVALID_ARGUMENT, None),
        row_errors=[types.RowError(index=3, code=1, message="no")],
    )
    refusal = refusal_in(response)
    assert refusal == Refusal(Code.INVALID_ARGUMENT, "as planned", None, {3: "no"})
    assert classify(refusal) is Action.DROP_ROWS


def test_an_acknowledgement_is_no_refusal() -> None:
    """A result without an error is None, also on the default stream, which has no offset."""
    result = types.AppendRowsResponse.AppendResult()
    assert refusal_in(types.AppendRowsResponse(append_result=result)) is None


def test_codes_are_googles() -> None:
    """The numbers are those of google.rpc.Code."""
    assert {code.name: int(code) for code in Code} == dict(code_pb2.Code.items())


@pytest.mark.parametrize(
    ("code", "action"),
    [
        (Code.UNAVAILABLE, Action.RECONNECT),
        (Code.RESOURCE_EXHAUSTED, Action.BACK_OFF),
        (Code.NOT_FOUND, Action.STOP),
        (Code.FAILED_PRECONDITION, Action.STOP),
        (Code.PERMISSION_DENIED, Action.STOP),
    ],
)
def test_opening_a_stream(code: Code, action: Action) -> None:
    """A stream that cannot be made is not answered with another stream."""
    assert classify_opening(Refusal(code, "")) is action


@pytest.mark.parametrize(
    ("status_code", "reason", "action"),
    [
        (400, "invalid", Action.STOP),
        (401, None, Action.STOP),
        (403, "accessDenied", Action.STOP),
        (403, "rateLimitExceeded", Action.BACK_OFF),
        (403, "quotaExceeded", Action.BACK_OFF),
        (404, "notFound", Action.STOP),
        (408, None, Action.RECONNECT),
        (409, "duplicate", Action.RECONNECT),
        (412, "conditionNotMet", Action.RECONNECT),
        (429, None, Action.BACK_OFF),
        (500, "backendError", Action.RECONNECT),
        (503, None, Action.RECONNECT),
    ],
)
def test_rest_statuses(status_code: int, reason: str | None, action: Action) -> None:
    """403 is a limit or a refusal, as its reason says."""
    assert classify_http(status_code, reason) is action


def test_sentences_say_what_to_do() -> None:
    """A missing permission names the role; an unknown code is shown as a number."""
    denied = sentence(Refusal(Code.PERMISSION_DENIED, "no"), "p.d.windows")
    assert denied.startswith("p.d.windows: BigQuery answered PERMISSION_DENIED: no (grant")
    assert "roles/bigquery.dataEditor" in denied
    gone = sentence(Refusal(Code.INVALID_ARGUMENT, "no", "TABLE_NOT_FOUND"), "t")
    assert "INVALID_ARGUMENT, TABLE_NOT_FOUND" in gone
    assert "check project and dataset" in gone
    assert sentence(Refusal(4711, "no"), "t") == "t: BigQuery answered 4711: no"
