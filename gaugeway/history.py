"""Windows of the past from the local warehouse, for the API."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import duckdb

from ext_proc.sinks.warehouse.query import connect_views

_QUERY: Final = """
    SELECT * FROM windows_latest
    WHERE sensor_id = ? AND metric = ? AND size_ms = ?
      AND window_start >= make_timestamptz(?) AND window_start < make_timestamptz(?)
    ORDER BY window_start DESC
    LIMIT ?
"""


class WarehouseHistory:
    """control_plane.api.ports.History over a warehouse folder; each question opens its own connection."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def windows(
        self,
        sensor_id: str,
        metric: str,
        size_ms: int,
        *,
        since_unix_ns: int,
        until_unix_ns: int,
        limit: int,
    ) -> list[dict[str, object]]:
        """Return the newest `limit` windows that begin in [since, until), highest revision, newest last."""
        span = [since_unix_ns // 1000, until_unix_ns // 1000]  # microseconds
        return await asyncio.to_thread(self._query, [sensor_id, metric, size_ms, *span, limit])

    def _query(self, parameters: list[object]) -> list[dict[str, object]]:
        connection = connect_views(self._folder)
        try:
            answer = connection.execute(_QUERY, parameters)
            names = [column[0] for column in answer.description]
            rows = [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
        except duckdb.CatalogException:
            return []  # no windows were written yet
        finally:
            connection.close()
        return rows[::-1]
