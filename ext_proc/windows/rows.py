"""Rows of WINDOWS_SCHEMA from the window table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ext_proc.windows import statistics
from ext_proc.windows.arrays import Ints
from ext_proc.windows.names import Names
from ext_proc.windows.sketch import quantiles
from ext_proc.windows.table import WindowTable
from wire.journal import WINDOWS_SCHEMA

EMPTY: Final = pa.RecordBatch.from_arrays(
    [pa.array([], type=field.type) for field in WINDOWS_SCHEMA], schema=WINDOWS_SCHEMA
)
_MS: Final = 1_000_000
_QUANTILES: Final = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
_FLOATS: Final = {
    name: statistics.FLOATS.index(name) for name in ("min", "max", "sum", "mean", "first", "last")
}


def encode_windows(table: WindowTable, slots: Ints, names: Names) -> pa.RecordBatch:
    """Return the windows in `slots`, in that order.

    Quantiles come from the sketch and are clamped to [min, max], which the
    exact quantile lies in.
    """
    if not len(slots):
        return EMPTY
    floats, ints = table.floats[slots], table.ints[slots]
    count = ints[:, statistics.COUNT]
    size_ns = np.array(table.sizes_ns, np.int64)[table.size[slots]]
    series = table.series[slots]
    sensors = names.series_sensor[series]
    quantities = names.series_quantity[series]
    deviation = statistics.sample_deviation(floats[:, statistics.DEVIATION], count)
    arrays: dict[str, Any] = {
        "sensor": _words(sensors, names.sensors),
        "site": _words(sensors, names.sites),
        "metric": _words(quantities, [metric for metric, _ in names.quantities]),
        "unit": _words(quantities, [unit for _, unit in names.quantities]),
        "size_ms": pa.array((size_ns // _MS).astype(np.uint32)),
        "start": _times(table.number[slots] * size_ns),
        "revision": pa.array(table.revision[slots].astype(np.uint32)),
        "count": pa.array(count.astype(np.uint64)),
        "stddev": pa.array(deviation, mask=count < 2),
        "first_time": _times(ints[:, statistics.FIRST_TIME]),
        "last_time": _times(ints[:, statistics.LAST_TIME]),
    }
    arrays |= {name: pa.array(floats[:, column]) for name, column in _FLOATS.items()}
    _, codes, counts = table.sketches.read(slots)
    low, high = floats[:, statistics.MIN], floats[:, statistics.MAX]
    for name, q in _QUANTILES.items():
        arrays[name] = pa.array(np.clip(quantiles(codes, counts, count, q), low, high))
    return pa.RecordBatch.from_arrays([arrays[name] for name in WINDOWS_SCHEMA.names], schema=WINDOWS_SCHEMA)


def concat(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Return the rows of all batches in order, as one batch."""
    filled = [batch for batch in batches if batch.num_rows]
    if len(filled) <= 1:
        return filled[0] if filled else EMPTY
    whole = pa.Table.from_batches(filled).unify_dictionaries().combine_chunks()
    (batch,) = whole.to_batches()
    return batch


def _words(index: Ints, words: Sequence[str]) -> pa.DictionaryArray:
    """Return words[index] with a dictionary of only the distinct words that occur."""
    used, code = np.unique(index, return_inverse=True)
    distinct: dict[str, int] = {}
    place = np.array([distinct.setdefault(words[entry], len(distinct)) for entry in used.tolist()], np.int32)
    return pa.DictionaryArray.from_arrays(place[code], pa.array(list(distinct), type=pa.utf8()))


def _times(unix_ns: Ints) -> pa.Array:
    return pa.array(unix_ns).view(WINDOWS_SCHEMA.field("start").type)
