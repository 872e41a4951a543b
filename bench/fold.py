"""What folding costs: nanoseconds a reading for full records, microseconds for small ones.

    python -m bench.fold [--readings N ...] [--series N] [--records N]

Records are made beforehand and are those of a worker: runs of one sensor's
readings, its metrics in turn, event times in order. The policy has the three
default sizes. `apply` includes reading the Arrow rows and making the rows that
go out, not the network or the disk. Beside it, in the same run, what numpy
needs to sort the same values, and to group them once (sort and reduceat; count,
sum, min, max): the least that any fold on numpy can cost.

`backlog` is one record with an hour of one sensor's readings at 1 Hz. `small`
are records of few rows, on an empty fold and on one with all series open.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from ext_proc.windows.fold import Fold
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import READINGS_SCHEMA, SCHEMA_VERSION, decode_rows, encode_rows

_S = 1_000_000_000
_START = 1_750_000_000 * _S
_METRICS = ("temperature", "pressure", "humidity", "vibration")
_UNITS = ("Cel", "kPa", "%", "mm/s")


class Fleet:
    """Makes records of sensors with four metrics each, each metric at `rate_hz`."""

    def __init__(self, series: int, rate_hz: int) -> None:
        self._sensors = [f"sensor-{number:06d}" for number in range(max(1, series // len(_METRICS)))]
        self._rate_hz = rate_hz
        self._taken = np.zeros(len(self._sensors), np.int64)  # rounds of all metrics, by sensor
        self._random = np.random.default_rng(1)
        self._seq = 0

    def record(self, sensors: range, rounds: int) -> tuple[int, journal_pb2.ReadingsRecord]:
        """Return (sequence, record) with the next `rounds` readings of every metric of some sensors."""
        metrics = len(_METRICS)
        sensor = np.repeat(np.array(sensors), rounds * metrics)
        step = np.tile(np.repeat(np.arange(rounds), metrics), len(sensors)) + self._taken[sensor]
        metric = np.tile(np.arange(metrics), rounds * len(sensors))
        event = _START + step * (_S // self._rate_hz) + sensor * 1000
        self._taken[list(sensors)] += rounds
        columns = [
            _words(sensor - sensors.start, self._sensors[sensors.start : sensors.stop]),
            _words(np.zeros(len(sensor), np.int64), ["hall"]),
            pa.array((sensor + 1).astype(np.uint64)),
            pa.array((step * metrics + metric + 1).astype(np.uint64)),
            _words(metric, _METRICS),
            _words(metric, _UNITS),
            pa.array(event).view(READINGS_SCHEMA.field("time").type),
            pa.array(self._random.normal(20 + 5 * metric, 0.5)),
            pa.array(np.zeros(len(sensor), np.uint8)),
            pa.array(np.zeros(len(sensor), np.uint8)),
        ]
        batch = pa.RecordBatch.from_arrays(columns, schema=READINGS_SCHEMA)
        self._seq += 1
        record = journal_pb2.ReadingsRecord(
            schema=SCHEMA_VERSION,
            kind=journal_pb2.ReadingsRecord.READINGS,
            generation=1,
            now_unix_ns=int(_START + self._taken.max() * (_S // self._rate_hz)),
            count=batch.num_rows,
            rows=encode_rows(batch),
        )
        return self._seq + 1, record

    @property
    def all(self) -> range:
        """Every sensor."""
        return range(len(self._sensors))


def _words(index: np.ndarray[Any, np.dtype[np.int64]], words: Any) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(index.astype(np.int32), pa.array(list(words), type=pa.utf8()))


def opened_fold() -> Fold:
    """Return a fold after OPEN with the three default sizes."""
    fold = Fold(0)
    sizes = [
        config_pb2.WindowSize(size_ms=size_ms, journalled=size_ms > 1000)
        for size_ms in (1000, 10_000, 60_000)
    ]
    policy = config_pb2.WindowPolicy(sizes=sizes, horizon_ms=60_000, idle_close_ms=5_000)
    opened = journal_pb2.ReadingsRecord.OPEN
    fold.apply(1, journal_pb2.ReadingsRecord(schema=SCHEMA_VERSION, kind=opened, generation=1, policy=policy))
    return fold


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _apply_all(fold: Fold, records: Iterator[tuple[int, journal_pb2.ReadingsRecord]]) -> list[float]:
    """Return the seconds that each record took."""
    return [_timed(lambda pair=pair: fold.apply(*pair)) for pair in records]  # type: ignore[misc]


def full(readings: int, series: int, records: int, rate_hz: int) -> dict[str, float | int]:
    """Measure records that hold `readings` of all series."""
    fleet, fold = Fleet(series, rate_hz), opened_fold()
    rounds = max(1, readings // series)
    made = [fleet.record(fleet.all, rounds) for _ in range(records)]
    n = made[0][1].count
    taken = _apply_all(fold, iter(made))[records // 4 :]
    batch = decode_rows(made[0][1].rows, READINGS_SCHEMA)
    value = batch.column("value").to_numpy()
    key = batch.column("sensor").indices.to_numpy().astype(np.int64) * 4 + np.tile(np.arange(4), n // 4)
    checkpoint_s = min(_timed(fold.checkpoint) for _ in range(3))
    checkpoint = fold.checkpoint()
    return {
        "readings": n,
        "series": len(fleet.all) * len(_METRICS),
        "rate_hz": rate_hz,
        "fold_ns_per_reading": round(statistics.median(taken) / n * 1e9, 1),
        "fold_ns_per_reading_mean": round(statistics.fmean(taken) / n * 1e9, 1),
        "slowest_record_ms": round(max(taken) * 1e3, 2),
        "numpy_sort_ns_per_reading": round(
            min(_timed(lambda: np.sort(value)) for _ in range(9)) / n * 1e9, 1
        ),
        "numpy_group_once_ns_per_reading": round(
            min(_timed(lambda: _group(key, value)) for _ in range(9)) / n * 1e9, 1
        ),
        "checkpoint_ms": round(checkpoint_s * 1e3, 1),
        "checkpoint_bytes": checkpoint.ByteSize(),
        "restore_ms": round(min(_timed(lambda: Fold.restore(checkpoint)) for _ in range(3)) * 1e3, 1),
    }


def _group(key: np.ndarray[Any, Any], value: np.ndarray[Any, Any]) -> object:
    order = np.argsort(key, kind="stable")
    key, value = key[order], value[order]
    starts = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
    return [operation.reduceat(value, starts) for operation in (np.add, np.minimum, np.maximum)]


def small(series: int, rows: int, records: int, open_series: int) -> dict[str, float | int]:
    """Measure records of few rows, on a fold that has `open_series` open."""
    fleet, fold = Fleet(max(series, open_series), 10), opened_fold()
    if open_series:
        _apply_all(fold, (fleet.record(fleet.all, 10) for _ in range(70)))  # a minute and more of windows
    sensors = max(1, rows // len(_METRICS))
    count = len(fleet.all)
    made = [fleet.record(range(at, at + sensors), 1) for at in _places(count, sensors, records)]
    taken = _apply_all(fold, iter(made))[records // 4 :]
    return {
        "rows": made[0][1].count,
        "open_series": open_series,
        "fold_us_median": round(statistics.median(taken) * 1e6, 1),
        "fold_us_p99": round(statistics.quantiles(taken, n=100)[98] * 1e6, 1),
        "decode_us": round(
            min(_timed(lambda: decode_rows(made[0][1].rows, READINGS_SCHEMA)) for _ in range(99)) * 1e6, 1
        ),
    }


def _places(count: int, sensors: int, records: int) -> list[int]:
    return [place * sensors % max(1, count - sensors + 1) for place in range(records)]


def backlog() -> dict[str, float | int]:
    """Measure an hour of one sensor in one record."""
    fleet, fold = Fleet(4, 1), opened_fold()
    seq, record = fleet.record(fleet.all, 3600)
    taken = _timed(lambda: fold.apply(seq, record))
    return {"readings": record.count, "ms": round(taken * 1e3, 2), "windows": 4 * (3600 + 360 + 60)}


def main() -> None:
    """Run all and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readings", type=int, nargs="+", default=[50_000, 5_000])
    parser.add_argument("--series", type=int, default=5_000)
    parser.add_argument("--records", type=int, default=80)
    options = parser.parse_args()
    _ = full(5_000, 500, 20, 10)  # everything loaded and warm
    document = {
        "bench": "fold",
        "full": [
            full(readings, min(options.series, readings), options.records, 10)
            for readings in options.readings
        ],
        "small": [small(4, 4, 400, 0), small(80, 80, 400, 0), small(80, 80, 400, options.series)],
        "backlog": backlog(),
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()
