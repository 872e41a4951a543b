"""Questions to the warehouse, by any process on the machine, while it is being written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import duckdb
import pyarrow as pa

from ext_proc.sinks.model import Kind
from ext_proc.sinks.tables import LATEST_ORDER, READINGS_KEY, TABLES, WINDOW_KEY
from ext_proc.sinks.warehouse.files import files_of
from ext_proc.sinks.warehouse.spans import DataFile, split_contained

AHEAD: Final = timedelta(hours=1)  # by which event times may be ahead of the journal's
_NS: Final = 1_000_000_000
_MAX_NS: Final = (1 << 63) - 1
_READING_ORDER: Final = tuple(column for column in LATEST_ORDER if column != "revision")
_TYPES: Final = {
    pa.string(): "VARCHAR",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.timestamp("ns", tz="UTC"): "TIMESTAMPTZ_NS",
}

T = TypeVar("T")


def connect_views(directory: Path, *, since: datetime | None = None) -> duckdb.DuckDBPyConnection:
    """Return a connection with the views `readings`, `windows` and `windows_latest`.

    They show the files that are there now: connect again to see newer rows.
    A file that was merged into another stays for a minute, so a connection
    does not live for much longer: then it fails with duckdb.IOException.

    Args:
        directory: The warehouse; it may be empty, or not exist yet.
        since: Leave out what the journal held before this time.
    """
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for kind in TABLES:
        kept, _ = split_contained(files_of(directory, kind, since))
        rows = _source(directory, kind, kept)
        for name, query in _views(kind, rows, kept).items():
            connection.execute(f"CREATE VIEW {name} AS {query}")
    return connection


def windows_of(
    directory: Path,
    sensor_id: str,
    metric: str,
    size_ms: int,
    *,
    since_unix_ns: int,
    until_unix_ns: int,
    limit: int,
) -> list[dict[str, Any]]:
    """Return the newest `limit` windows that begin in [since, until), the newest last.

    Of each the latest revision; keys are the columns of `windows_latest`, times
    are datetimes in UTC. Blocks.
    """
    since = datetime.fromtimestamp(min(max(since_unix_ns, _NS * 86_400), _MAX_NS) // _NS, UTC)
    query = """
        SELECT * FROM windows_latest
        WHERE sensor_id = ? AND metric = ? AND size_ms = ?
          AND epoch_ns(window_start) >= ? AND epoch_ns(window_start) < ?
        ORDER BY window_start DESC LIMIT ?
    """
    parameters = [sensor_id, metric, size_ms, since_unix_ns, until_unix_ns, limit]

    def ask() -> list[dict[str, Any]]:
        with connect_views(directory, since=since - AHEAD) as connection:
            answer = connection.execute(query, parameters)
            names = [column[0] for column in answer.description or ()]
            return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]

    return _again_if_a_file_went(ask)[::-1]


def _again_if_a_file_went(ask: Callable[[], T]) -> T:
    """Ask; once more if a file was merged or removed between listing and reading."""
    try:
        return ask()
    except duckdb.IOException:
        return ask()


def _source(directory: Path, kind: Kind, kept: Sequence[DataFile]) -> str:
    """Return a query for all rows in `kept`, with the rewind of their file as `_rewind`."""
    columns = _columns(kind)
    if not kept:
        nothing = ", ".join(f'CAST(NULL AS {_TYPES[field.type]}) AS "{field.name}"' for field in TABLES[kind])
        return f"SELECT {nothing}, 0 AS _rewind WHERE false"
    parts = []
    for rewind in sorted({file.span.rewind for file in kept}):
        paths = ", ".join(_quoted(str(directory / f.path)) for f in kept if f.span.rewind == rewind)
        parts.append(
            f"SELECT {columns}, {rewind} AS _rewind"  # noqa: S608 - names of our own, quoted
            f" FROM read_parquet([{paths}], hive_partitioning = false)"
        )
    return " UNION ALL ".join(parts)


def _views(kind: Kind, rows: str, kept: Sequence[DataFile]) -> dict[str, str]:
    """Return the views of a kind: each key once where files may repeat rows (F4 of spans.py)."""
    columns = _columns(kind)
    everything = f"SELECT {columns} FROM ({rows})"  # noqa: S608 - names of our own, quoted
    if kind == "readings":
        lines = {(file.span.rewind, file.span.generation) for file in kept}
        once = _newest_of(READINGS_KEY, _READING_ORDER) if len(lines) > 1 else ""
        return {"readings": everything + once}
    rewinds = {file.span.rewind for file in kept}
    once = _newest_of(("row_key",), _READING_ORDER) if len(rewinds) > 1 else ""
    return {
        "windows": everything + once,
        "windows_latest": everything + _newest_of(WINDOW_KEY, LATEST_ORDER),
    }


def _newest_of(key: Sequence[str], order: Sequence[str]) -> str:
    partition = ", ".join(f'"{column}"' for column in key)
    newest = ", ".join(f'"{column}" DESC' for column in ("_rewind", *order))
    return f" QUALIFY row_number() OVER (PARTITION BY {partition} ORDER BY {newest}) = 1"


def _columns(kind: Kind) -> str:
    return ", ".join(f'"{name}"' for name in TABLES[kind].names)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
