"""Live windows: what one fold step closed, as a message for each sensor. Pure."""

from __future__ import annotations

import json

import pyarrow as pa

_TEXT = ("metric", "unit")
_COUNTS = ("size_ms", "revision", "count")
_STATISTICS = ("min", "max", "sum", "mean", "stddev", "first", "last", "p50", "p95", "p99")


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
