"""A fold's state as Arrow tables, for checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from ext_proc.windows.sensors import COUNTERS, Sensors
from ext_proc.windows.table import FLOAT_COLUMNS, INT_COLUMNS, WindowTable
from wire.journal import decode_rows, encode_rows

_SENSORS = pa.schema(
    [
        ("name", pa.utf8()),
        ("site", pa.utf8()),
        ("watermark", pa.int64()),
        ("last_seen", pa.int64()),
        *((name, pa.int64()) for name in COUNTERS),
    ]
)
_CURSORS = pa.schema([("sensor", pa.int64()), ("epoch", pa.uint64()), ("seq", pa.uint64())])
_SERIES = pa.schema([("sensor", pa.int64()), ("metric", pa.utf8()), ("unit", pa.utf8())])
_WINDOWS = pa.schema(
    [*((name, pa.int64()) for name in INT_COLUMNS), *((name, pa.float64()) for name in FLOAT_COLUMNS)]
)
_SKETCHES = pa.schema([("slot", pa.int64()), ("bucket", pa.int64()), ("count", pa.int64())])


def save(
    sensors: Sensors, series: Sequence[tuple[int, str, str]], tables: Mapping[int, WindowTable]
) -> dict[str, bytes]:
    """Return everything as Arrow IPC streams by name."""
    counters = {name: sensors.counters[:, place] for place, name in enumerate(COUNTERS)}
    cursors = [
        (sensor, epoch, seq) for sensor, epochs in enumerate(sensors.cursors) for epoch, seq in epochs.items()
    ]
    saved = {
        "sensors": _encode(
            _SENSORS,
            {
                "name": sensors.names,
                "site": sensors.sites,
                "watermark": sensors.watermark,
                "last_seen": sensors.last_seen,
                **counters,
            },
        ),
        "cursors": _encode(_CURSORS, _transpose(_CURSORS, cursors)),
        "series": _encode(_SERIES, _transpose(_SERIES, series)),
    }
    for size_ms, table in tables.items():
        position, bucket, count = table.sketches.of(table.ints("slot"))
        columns: dict[str, object] = dict(table.columns)
        columns["slot"] = np.arange(len(table))
        saved[f"windows.{size_ms}"] = _encode(_WINDOWS, columns)
        saved[f"sketches.{size_ms}"] = _encode(
            _SKETCHES, {"slot": position, "bucket": bucket, "count": count}
        )
    return saved


def restore_sensors(saved: Mapping[str, bytes]) -> Sensors:
    """Return the sensors that `save` was given."""
    sensors = Sensors()
    rows = decode_rows(saved["sensors"], _SENSORS)
    for name, site in zip(rows.column("name").to_pylist(), rows.column("site").to_pylist(), strict=True):
        sensors.sites[sensors.index(name)] = site
    sensors.watermark = _ints(rows, "watermark")
    sensors.last_seen = _ints(rows, "last_seen")
    sensors.counters = np.column_stack([_ints(rows, name) for name in COUNTERS])
    for row in decode_rows(saved["cursors"], _CURSORS).to_pylist():
        sensors.cursors[row["sensor"]][row["epoch"]] = row["seq"]
    return sensors


def restore_series(saved: Mapping[str, bytes]) -> list[tuple[int, str, str]]:
    """Return the series that `save` was given."""
    rows = decode_rows(saved["series"], _SERIES).to_pylist()
    return [(row["sensor"], row["metric"], row["unit"]) for row in rows]


def restore_table(size_ms: int, saved: Mapping[str, bytes]) -> WindowTable:
    """Return the table of one size that `save` was given."""
    table = WindowTable(size_ms * 1_000_000)
    rows = decode_rows(saved[f"windows.{size_ms}"], _WINDOWS)
    table.restore({name: rows.column(name).to_numpy().copy() for name in _WINDOWS.names})
    sketches = decode_rows(saved[f"sketches.{size_ms}"], _SKETCHES)
    table.sketches.append(_ints(sketches, "slot"), _ints(sketches, "bucket"), _ints(sketches, "count"))
    return table


def _encode(schema: pa.Schema, columns: Mapping[str, object]) -> bytes:
    arrays = [pa.array(columns[field.name], type=field.type) for field in schema]
    return encode_rows(pa.RecordBatch.from_arrays(arrays, schema=schema))


def _transpose(schema: pa.Schema, rows: Sequence[tuple[object, ...]]) -> dict[str, list[object]]:
    return {name: [row[place] for row in rows] for place, name in enumerate(schema.names)}


def _ints(rows: pa.RecordBatch, name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return rows.column(name).to_numpy().copy()
