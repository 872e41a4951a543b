"""A fold's state as Arrow tables, for checkpoints.

Rows are in an order that the log alone decides, and hold only what the future
can see: equal logs make equal checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ext_proc.windows import statistics
from ext_proc.windows.accounts import Accounts
from ext_proc.windows.arrays import Ints
from ext_proc.windows.audit import COUNTERS
from ext_proc.windows.statistics import Partials
from ext_proc.windows.table import WindowTable
from wire.journal import JournalFormatError, decode_rows, encode_rows

_CLOCKS: Final = ("highest", "closed", "seen")
_WINDOW_INTS: Final = ("size_ns", "series", "number", "revision", "buckets", *statistics.INTS)


def _ints(*names: str) -> list[tuple[str, pa.DataType]]:
    return [(name, pa.int64()) for name in names]


SCHEMAS: Final = {
    "sensors": pa.schema([("name", pa.utf8()), ("site", pa.utf8()), *_ints(*_CLOCKS, *COUNTERS)]),
    "cursors": pa.schema([*_ints("sensor", "seq"), ("epoch", pa.uint64())]),
    "series": pa.schema([*_ints("sensor"), ("metric", pa.utf8()), ("unit", pa.utf8())]),
    "windows": pa.schema([*_ints(*_WINDOW_INTS), *((name, pa.float64()) for name in statistics.FLOATS)]),
    "sketches": pa.schema([("bucket", pa.int32()), ("count", pa.int64())]),
}
"""Tables of a checkpoint. A window's `buckets` says how many rows of `sketches`, in order, are its own."""


def save(accounts: Accounts, table: WindowTable) -> dict[str, bytes]:
    """Return everything as Arrow IPC streams by name."""
    names, clocks = accounts.names, accounts.clocks
    sensors = len(names.sensors)
    moved = [
        {"sensor": sensor, "epoch": epoch, "seq": seq}
        for sensor in range(sensors)
        for epoch, seq in accounts.cursors.of(sensor).items()
    ]
    quantities = [names.quantities[quantity] for quantity in names.series_quantity[: names.series].tolist()]
    windows, sketches = _windows(table, clocks.closed[names.series_sensor])
    columns: dict[str, dict[str, Any]] = {
        "sensors": {
            "name": names.sensors,
            "site": names.sites,
            **{clock: getattr(clocks, clock)[:sensors] for clock in _CLOCKS},
            **{counter: accounts.audit.rows[:sensors, place] for place, counter in enumerate(COUNTERS)},
        },
        "cursors": {key: [row[key] for row in moved] for key in ("sensor", "epoch", "seq")},
        "series": {
            "sensor": names.series_sensor[: names.series],
            "metric": [metric for metric, _ in quantities],
            "unit": [unit for _, unit in quantities],
        },
        "windows": windows,
        "sketches": sketches,
    }
    return {name: _encode(schema, columns[name]) for name, schema in SCHEMAS.items()}


def restore(saved: Mapping[str, bytes]) -> tuple[Accounts, WindowTable]:
    """Return what `save` was given. Raises JournalFormatError."""
    accounts = Accounts()
    names, clocks, audit = accounts.names, accounts.clocks, accounts.audit
    rows = _decode(saved, "sensors")
    for name, site in zip(rows.column("name").to_pylist(), rows.column("site").to_pylist(), strict=True):
        names.sensor(name, site)
    clocks.reserve(rows.num_rows)
    audit.reserve(rows.num_rows)
    for clock in _CLOCKS:
        getattr(clocks, clock)[: rows.num_rows] = _numpy(rows, clock)
    for place, counter in enumerate(COUNTERS):
        audit.rows[: rows.num_rows, place] = _numpy(rows, counter)
    for row in _decode(saved, "cursors").to_pylist():
        accounts.cursors.restore(row["sensor"], row["epoch"], row["seq"])
    series = _decode(saved, "series")
    words = zip(series.column("metric").to_pylist(), series.column("unit").to_pylist(), strict=True)
    names.series_of(_numpy(series, "sensor"), np.array([names.quantity(*pair) for pair in words], np.int64))
    return accounts, _restore_table(saved, names.series_sensor)


def _windows(table: WindowTable, closed: Ints) -> tuple[dict[str, Any], dict[str, Any]]:
    slots = table.sorted(table.living(closed))
    place, codes, counts = table.sketches.read(slots) if len(slots) else (slots, slots, slots)
    columns: dict[str, Any] = {
        "size_ns": np.array(table.sizes_ns, np.int64)[table.size[slots]],
        "series": table.series[slots],
        "number": table.number[slots],
        "revision": table.revision[slots],
        "buckets": np.bincount(place, minlength=len(slots)),
    }
    columns |= {name: table.ints[slots, column] for column, name in enumerate(statistics.INTS)}
    columns |= {name: table.floats[slots, column] for column, name in enumerate(statistics.FLOATS)}
    return columns, {"bucket": codes, "count": counts}


def _restore_table(saved: Mapping[str, bytes], series_sensor: Ints) -> WindowTable:
    table = WindowTable()
    rows, sketches = _decode(saved, "windows"), _decode(saved, "sketches")
    if not rows.num_rows:
        return table
    size_ns = _numpy(rows, "size_ns")
    table.sizes_ns, size = np.unique(size_ns).tolist(), np.unique(size_ns, return_inverse=True)[1]
    series = _numpy(rows, "series")
    slots = table.insert(
        Partials(_matrix(rows, statistics.FLOATS), _matrix(rows, statistics.INTS)),
        size=size,
        series=series,
        number=_numpy(rows, "number"),
        sensor=series_sensor[series],
        revision=_numpy(rows, "revision"),
    )
    buckets = _numpy(rows, "buckets")
    table.sketches.add(
        slots, np.cumsum(buckets) - buckets, buckets, _numpy(sketches, "bucket"), _numpy(sketches, "count")
    )
    return table


def _encode(schema: pa.Schema, columns: Mapping[str, Any]) -> bytes:
    arrays = [pa.array(columns[field.name], type=field.type) for field in schema]
    return encode_rows(pa.RecordBatch.from_arrays(arrays, schema=schema))


def _decode(saved: Mapping[str, bytes], name: str) -> pa.RecordBatch:
    if name not in saved:
        raise JournalFormatError(f"a checkpoint without the table {name!r}")
    return decode_rows(saved[name], SCHEMAS[name])


def _numpy(rows: pa.RecordBatch, name: str) -> Any:
    return rows.column(name).to_numpy()


def _matrix(rows: pa.RecordBatch, columns: Sequence[str]) -> Any:
    return np.column_stack([_numpy(rows, name) for name in columns])
