"""Make and widen the tables and views by BigQuery's REST API. Its client blocks: call it from a thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from google.api_core.exceptions import GoogleAPICallError, NotFound, RetryError
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

from ext_proc.sinks.bigquery.errors import Action, classify_http
from ext_proc.sinks.bigquery.schema import (
    CLUSTER_BY,
    PARTITION_BY,
    TABLE_DESCRIPTIONS,
    WINDOWS_LATEST,
    Column,
    columns,
    missing,
    windows_latest_sql,
    wrong,
)
from ext_proc.sinks.errors import RetryableSinkError, TerminalSinkError
from ext_proc.sinks.model import Kind

_LABELS = {"managed-by": "gaugeway"}


class Provisioner:
    """The tables of one dataset."""

    def __init__(self, client: bigquery.Client, project: str, dataset: str, timeout_s: float) -> None:
        self._client = client
        self._retry = DEFAULT_RETRY.with_timeout(timeout_s)
        self._timeout_s = timeout_s
        self._project = project
        self._dataset = dataset

    def ensure(self, kinds: Iterable[Kind]) -> None:
        """Make what is missing of the tables of `kinds` and their views; change nothing else.

        Raises RetryableSinkError or TerminalSinkError.
        """
        for kind in kinds:
            with told_as_sink_errors(f"table {self._project}.{self._dataset}.{kind}"):
                self._ensure_table(kind)
            if kind == "windows":
                with told_as_sink_errors(f"view {self._project}.{self._dataset}.{WINDOWS_LATEST}"):
                    self._ensure_windows_latest()

    def _name(self, table: str) -> str:
        return f"{self._project}.{self._dataset}.{table}"

    def _ensure_table(self, kind: Kind) -> None:
        try:
            table = self._client.get_table(self._name(kind), retry=self._retry, timeout=self._timeout_s)
        except NotFound:
            self._client.create_table(self._new_table(kind), retry=self._retry, timeout=self._timeout_s)
            return
        for column in wrong(kind, {field.name: field.field_type for field in table.schema}):
            raise TerminalSinkError(
                f"{self._name(kind)}: column {column.name} is {column.found}, and the rows have"
                f" {column.wanted}: rename the table, or name another dataset"
            )
        lacking = missing(kind, (field.name for field in table.schema))
        if lacking:
            table.schema = [*table.schema, *map(_field, lacking)]
            self._client.update_table(table, ["schema"], retry=self._retry, timeout=self._timeout_s)

    def _new_table(self, kind: Kind) -> bigquery.Table:
        table = bigquery.Table(self._name(kind), schema=[_field(column) for column in columns(kind)])
        table.description = TABLE_DESCRIPTIONS[kind]
        table.labels = _LABELS
        table.time_partitioning = bigquery.TimePartitioning(field=PARTITION_BY[kind])
        table.clustering_fields = list(CLUSTER_BY)
        return table

    def _ensure_windows_latest(self) -> None:
        query = windows_latest_sql(self._project, self._dataset)
        try:
            view = self._client.get_table(
                self._name(WINDOWS_LATEST), retry=self._retry, timeout=self._timeout_s
            )
        except NotFound:
            view = bigquery.Table(self._name(WINDOWS_LATEST))
            view.view_query = query
            view.description = "The newest revision of every window."
            view.labels = _LABELS
            self._client.create_table(view, retry=self._retry, timeout=self._timeout_s)
            return
        if view.view_query != query:
            view.view_query = query
            self._client.update_table(view, ["view_query"], retry=self._retry, timeout=self._timeout_s)


def _field(column: Column) -> bigquery.SchemaField:
    mode = "REQUIRED" if column.required else "NULLABLE"
    return bigquery.SchemaField(column.name, column.type, mode, description=column.description)


@contextmanager
def told_as_sink_errors(what: str) -> Iterator[None]:
    """Turn the client's errors into ours, with `what` was being made."""
    try:
        yield
    except GoogleAPICallError as error:
        reason = error.errors[0].get("reason") if error.errors else None
        text = f"{what}: BigQuery answered {error.code}: {error.message}"
        if classify_http(error.code or 0, reason) is Action.STOP:
            raise TerminalSinkError(text) from error
        raise RetryableSinkError(text) from error
    except DefaultCredentialsError as error:
        raise TerminalSinkError(f"no Google Cloud credentials: {error}") from error
    except GoogleAuthError as error:
        text = f"{what}: the credentials were not accepted: {error}"
        raise (RetryableSinkError if error.retryable else TerminalSinkError)(text) from error
    except (RetryError, OSError) as error:  # the HTTP library's errors are OSErrors
        raise RetryableSinkError(f"{what}: BigQuery gives no answer: {error}") from error
