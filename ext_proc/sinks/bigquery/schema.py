"""The tables and views that the sink makes in BigQuery. Pure.

Partitioned by day of event time and clustered by what people filter by, so
that a question for one sensor over some days reads little.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from ext_proc.sinks.bigquery.rows import TIME_UNIX_NS, arrow_schema
from ext_proc.sinks.model import Kind
from ext_proc.sinks.tables import LATEST_ORDER, WINDOW_KEY

CLUSTER_BY: Final = ("site", "sensor_id", "metric")
PARTITION_BY: Final[dict[Kind, str]] = {"readings": "time", "windows": "window_start"}
WINDOWS_LATEST: Final = "windows_latest"

TABLE_DESCRIPTIONS: Final[dict[Kind, str]] = {
    "readings": "Every reading, one row each; `verdict` and `quality` say which count in windows. Key:"
    " sensor_id, epoch, seq. A reading can be here twice after a crash of the sink.",
    "windows": "Every revision of every window of event time. Key: row_key. `windows_latest` has the"
    " newest revision of each.",
}

_COMMON: Final = {
    "sensor_id": "The sensor.",
    "site": "Where it stands.",
    "metric": "What it measures.",
    "unit": "UCUM unit of the values in this row.",
    "shard": "The journal's shard that the row comes from.",
    "generation": "The journal's life in which the row was written.",
    "journal_seq": "The row's record in the journal's stream.",
}

_DESCRIPTIONS: Final[dict[Kind, Mapping[str, str]]] = {
    "readings": {
        **_COMMON,
        "epoch": "The life of the sensor's spool, 16 hexadecimal digits. Not ordered by time.",
        "seq": "Number within the epoch, from 1, without holes.",
        "time": "When it was measured (event time, UTC); microseconds.",
        TIME_UNIX_NS: "`time` in nanoseconds since 1970, exact.",
        "value": "The value in `unit`.",
        "quality": "GOOD, UNCERTAIN or BAD, as the device says.",
        "verdict": "OK, or why the reading was quarantined.",
    },
    "windows": {
        **_COMMON,
        "size_ms": "Length of the window in milliseconds.",
        "window_start": "First moment of the window (event time, UTC).",
        "window_end": "First moment after the window.",
        "revision": "From 1; late readings make the next one.",
        "count": "Readings in the window.",
        "min": "Least value in `unit`.",
        "max": "Greatest value in `unit`.",
        "sum": "Sum of the values in `unit`.",
        "mean": "Arithmetic mean in `unit`.",
        "stddev": "Sample standard deviation in `unit`; null below two readings.",
        "first": "Value of the earliest reading, in `unit`.",
        "first_time": "Its time; microseconds.",
        "last": "Value of the latest reading, in `unit`.",
        "last_time": "Its time; microseconds.",
        "p50": "Median in `unit`, within 1%.",
        "p95": "95th percentile in `unit`, within 1%.",
        "p99": "99th percentile in `unit`, within 1%.",
        "row_key": "Key of this row, the same however often it is delivered.",
    },
}

_TYPES: Final = {
    pa.string(): "STRING",
    pa.int64(): "INT64",
    pa.float64(): "FLOAT64",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP",
}
_OLD_NAMES: Final = {"INTEGER": "INT64", "FLOAT": "FLOAT64"}  # what the REST API calls them


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; `type` as GoogleSQL names it."""

    name: str
    type: str
    required: bool
    description: str


@dataclass(frozen=True, slots=True)
class WrongColumn:
    """A column of an existing table that has another type than the rows."""

    name: str
    found: str
    wanted: str


def columns(kind: Kind) -> tuple[Column, ...]:
    """Return the columns of a table, in order."""
    return tuple(
        Column(field.name, _TYPES[field.type], not field.nullable, _DESCRIPTIONS[kind][field.name])
        for field in arrow_schema(kind)
    )


def missing(kind: Kind, found: Iterable[str]) -> tuple[Column, ...]:
    """Return the columns that a table with the columns `found` lacks (names have no case in BigQuery).

    A column that is added to rows that exist can only be nullable.
    """
    have = {name.casefold() for name in found}
    return tuple(
        Column(column.name, column.type, required=False, description=column.description)
        for column in columns(kind)
        if column.name.casefold() not in have
    )


def wrong(kind: Kind, found: Mapping[str, str]) -> tuple[WrongColumn, ...]:
    """Return the columns of `found` (name to type) whose type rows of `kind` do not fit."""
    have = {name.casefold(): _OLD_NAMES.get(of_type, of_type) for name, of_type in found.items()}
    return tuple(
        WrongColumn(column.name, have[column.name], column.type)
        for column in columns(kind)
        if have.get(column.name, column.type) != column.type
    )


def windows_latest_sql(project: str, dataset: str) -> str:
    """Return the query of the view with the newest row of each window.

    Partitioned by `window_start` among others, so that a filter on it reaches
    the table's partitions.
    """
    key = ", ".join(f"`{name}`" for name in WINDOW_KEY)
    order = ", ".join(f"`{name}` DESC" for name in LATEST_ORDER)
    return (
        f"SELECT * FROM `{project}.{dataset}.windows` WHERE TRUE"  # noqa: S608 - checked names
        f" QUALIFY ROW_NUMBER() OVER (PARTITION BY {key} ORDER BY {order}) = 1"
    )
