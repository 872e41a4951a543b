"""Windows of the past from the local warehouse, for the API."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ext_proc.sinks.warehouse.query import windows_of


class WarehouseHistory:
    """control_plane.api.ports.History over a warehouse folder."""

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
        return await asyncio.to_thread(
            windows_of,
            self._folder,
            sensor_id,
            metric,
            size_ms,
            since_unix_ns=since_unix_ns,
            until_unix_ns=until_unix_ns,
            limit=limit,
        )
