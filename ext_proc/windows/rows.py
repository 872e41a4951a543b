"""Rows of WINDOWS_SCHEMA from a window table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ext_proc.windows.sensors import Sensors
from ext_proc.windows.sketch import quantiles
from ext_proc.windows.table import Ints, WindowTable
from wire.journal import WINDOWS_SCHEMA

EMPTY = pa.RecordBatch.from_arrays(
    [pa.array([], type=field.type) for field in WINDOWS_SCHEMA], schema=WINDOWS_SCHEMA
)


def encode_windows(
    table: WindowTable, rows: Ints, sensors: Sensors, series: Sequence[tuple[int, str, str]]
) -> pa.RecordBatch:
    """Return the windows at positions `rows` of a table, in that order.

    Quantiles come from the sketch and are clamped to [min, max], which the
    exact quantile lies in.
    """
    if not len(rows):
        return EMPTY
    keys = [series[index] for index in table.series[rows].tolist()]
    columns = {name: column[rows] for name, column in table.columns.items()}
    count = columns["count"]
    single = count < 2
    stddev = np.sqrt(columns["m2"] / np.where(single, 1, count - 1))
    _, buckets, bucket_counts = table.sketches.of(columns["slot"].astype(np.int64))
    clamped = {
        name: np.clip(
            quantiles(buckets, bucket_counts, count.astype(np.int64), q), columns["min"], columns["max"]
        )
        for name, q in (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))
    }
    arrays = {
        "sensor": _words([sensors.names[sensor] for sensor, _, _ in keys]),
        "site": _words([sensors.sites[sensor] for sensor, _, _ in keys]),
        "metric": _words([metric for _, metric, _ in keys]),
        "unit": _words([unit for _, _, unit in keys]),
        "size_ms": pa.array(np.full(len(rows), table.size_ns // 1_000_000), type=pa.uint32()),
        "start": pa.array(table.start[rows]),
        "revision": pa.array(columns["revision"], type=pa.uint32()),
        "count": pa.array(count, type=pa.uint64()),
        "stddev": pa.array(stddev, mask=single),
        **{name: pa.array(values) for name, values in clamped.items()},
    }
    plain = ("min", "max", "sum", "mean", "first", "first_time", "last", "last_time")
    arrays |= {name: pa.array(columns[name]) for name in plain}
    return pa.RecordBatch.from_arrays(
        [arrays[field.name].cast(field.type) for field in WINDOWS_SCHEMA], schema=WINDOWS_SCHEMA
    )


def concat(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Return the rows of all batches in order, as one batch."""
    filled = [batch for batch in batches if batch.num_rows]
    if len(filled) <= 1:
        return filled[0] if filled else EMPTY
    table = pa.Table.from_batches(filled).unify_dictionaries().combine_chunks()
    return table.to_batches()[0]


def _words(values: list[str]) -> pa.DictionaryArray:
    return pa.array(values, type=pa.utf8()).dictionary_encode()
