"""Live windows: what one fold step closed, as a message for each sensor. Pure."""

from __future__ import annotations

import json
from typing import Final

import numpy as np
import pyarrow as pa

from wire.names import EVERY_SENSOR, LIVE_WATCH_S

_TEXT = ("metric", "unit")
_COUNTS = ("size_ms", "revision", "count")
_STATISTICS = ("min", "max", "sum", "mean", "stddev", "first", "last", "p50", "p95", "p99")
_FORGET_S: Final = 3 * LIVE_WATCH_S
_MAX_WATCHED: Final = 100_000


class Watched:
    """Which sensors somebody looks at. Times are monotonic seconds that the caller reads."""

    def __init__(self) -> None:
        self._until_s: dict[str, float] = {}

    def hear(self, sensor_id: str, now_s: float) -> None:
        """Note that somebody looks at a sensor, or at EVERY_SENSOR."""
        if len(self._until_s) < _MAX_WATCHED or sensor_id in self._until_s:
            self._until_s[sensor_id] = now_s + _FORGET_S

    def of(self, rows: pa.RecordBatch, now_s: float) -> pa.RecordBatch:
        """Return the rows (WINDOWS_SCHEMA) of sensors that are looked at."""
        if not self._until_s or not rows.num_rows:
            return rows.slice(0, 0)
        for sensor_id in [known for known, until_s in self._until_s.items() if until_s < now_s]:
            del self._until_s[sensor_id]
        if EVERY_SENSOR in self._until_s:
            return rows
        column = rows.column("sensor")
        wanted = np.array([word in self._until_s for word in column.dictionary.to_pylist()], bool)
        return rows.take(pa.array(wanted[column.indices.to_numpy()].nonzero()[0]))


def live_messages(rows: pa.RecordBatch) -> list[tuple[str, bytes]]:
    """Return (sensor id, wire.status.LiveWindows as JSON) for rows of WINDOWS_SCHEMA.

    Values go from columns to JSON without a model for each row: this runs for
    every window of every size.
    """
    if not rows.num_rows:
        return []
    columns = {name: rows.column(name).to_pylist() for name in (*_TEXT, *_COUNTS, *_STATISTICS)}
    columns["start_unix_ns"] = rows.column("start").cast(pa.int64()).to_pylist()
    names = list(columns)
    windows: dict[str, list[dict[str, object]]] = {}
    for sensor, values in zip(
        rows.column("sensor").to_pylist(), zip(*columns.values(), strict=True), strict=True
    ):
        windows.setdefault(sensor, []).append(dict(zip(names, values, strict=True)))
    return [
        (sensor, json.dumps({"sensor_id": sensor, "windows": closed}, allow_nan=False).encode())
        for sensor, closed in windows.items()
    ]
