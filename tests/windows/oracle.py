"""The fold, again, as simply as it can be said: dictionaries, loops and textbook formulas.

It shares no code with the fold, knows nothing of arrays, and keeps every
reading for ever. Give it the records of a log in order; it says which windows
each of them emits and what the counters are.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pyarrow as pa

from wire.gen.gaugeway.config.v1 import config_pb2
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import READINGS_SCHEMA, decode_rows

MS = 1_000_000
SLOT = 250 * MS
RELATIVE_ACCURACY = 0.01
COLLAPSED = 1e-17  # magnitudes below this part of a window's largest of the same sign may be one bucket
LARGEST = 1.7976931348623157e308

WindowKey = tuple[str, str, str, int, int]
"""(sensor, metric, unit, size in ms, start in Unix ns)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One row of a readings record."""

    sensor: str
    site: str
    epoch: int
    seq: int
    metric: str
    unit: str
    time: int
    value: float
    quality: int
    verdict: int


@dataclass(slots=True)
class Window:
    """A window that has readings."""

    readings: list[Reading] = field(default_factory=list)
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Emitted:
    """One row that a record emits: the window, its revision and the readings in it by then."""

    key: WindowKey
    revision: int
    journalled: bool
    site: str
    readings: tuple[Reading, ...]


@dataclass(slots=True)
class Sensor:
    """What is known of a sensor."""

    site: str = ""
    cursors: dict[int, int] = field(default_factory=dict)
    watermark: int | None = None
    closed: int | None = None
    seen: int | None = None
    audit: Counter[str] = field(default_factory=Counter)


def rows_of(record: journal_pb2.ReadingsRecord) -> list[Reading]:
    """Return a record's rows."""
    if not record.rows:
        return []
    batch = decode_rows(record.rows, READINGS_SCHEMA)
    columns = {name: batch.column(name) for name in READINGS_SCHEMA.names}
    columns["time"] = columns["time"].cast(pa.int64())
    values = [columns[name].to_pylist() for name in Reading.__slots__]
    return [Reading(*row) for row in zip(*values, strict=True)]


class Oracle:
    """Folds records one at a time."""

    def __init__(self) -> None:
        self.now = 0
        self.policy: config_pb2.WindowPolicy | None = None
        self.sensors: dict[str, Sensor] = defaultdict(Sensor)
        self.windows: dict[WindowKey, Window] = {}

    def apply(self, record: journal_pb2.ReadingsRecord) -> list[Emitted]:
        """Return what the record emits, in no particular order."""
        enters_slot = record.now_unix_ns // SLOT > self.now // SLOT
        self.now = record.now_unix_ns
        emitted = self._change(record.policy) if record.HasField("policy") else []
        rows = rows_of(record)
        fresh = self._count(rows, record.notes)
        for reading in rows:
            self.sensors[reading.sensor].seen = self.now
        aggregated = [reading for reading in fresh if self._fate(reading) == "aggregated"]
        again: set[WindowKey] = set()
        for reading in aggregated:
            for size in self.policy.sizes if self.policy else []:
                start = reading.time // (size.size_ms * MS) * (size.size_ms * MS)
                key = (reading.sensor, reading.metric, reading.unit, size.size_ms, start)
                window = self.windows.setdefault(key, Window())
                window.readings.append(reading)
                if window.revision:
                    again.add(key)
        self._advance(aggregated)
        idle = enters_slot
        due = {key for key, window in self.windows.items() if not window.revision and self._due(key, idle)}
        return emitted + [self._emit(key) for key in again | due]

    def audit(self) -> dict[str, dict[str, int]]:
        """Return the counters that are not zero, by sensor."""
        return {name: {k: v for k, v in sensor.audit.items() if v} for name, sensor in self.sensors.items()}

    def cursors(self) -> dict[str, dict[int, int]]:
        """Return the cursors, for logs with few epochs."""
        return {name: sensor.cursors for name, sensor in self.sensors.items() if sensor.cursors}

    def _change(self, policy: config_pb2.WindowPolicy) -> list[Emitted]:
        kept = {size.size_ms for size in policy.sizes}
        gone = [key for key, window in self.windows.items() if key[3] not in kept and not window.revision]
        emitted = [self._emit(key) for key in gone]
        self.policy = policy
        return emitted

    def _count(self, rows: list[Reading], notes: Iterable[journal_pb2.StreamNote]) -> list[Reading]:
        """Count duplicates, undecodable frames and gaps, move cursors; return the readings that are new."""
        told: dict[tuple[str, int], list[range]] = defaultdict(list)
        for note in notes:
            audit = self.sensors[note.sensor_id].audit
            audit["received"] += note.duplicates.count
            audit["duplicate"] += note.duplicates.count
            audit["undecodable_frames"] += note.undecodable.frames
            if note.HasField("hole"):
                hole = range(note.hole.first_seq, note.hole.last_seq + 1)
                told[note.sensor_id, note.epoch].append(hole)
        fresh: list[Reading] = []
        numbers: dict[tuple[str, int], set[int]] = defaultdict(set)
        for reading in rows:
            sensor = self.sensors[reading.sensor]
            sensor.site = reading.site
            sensor.audit["received"] += 1
            present = numbers[reading.sensor, reading.epoch]
            if reading.seq > max([sensor.cursors.get(reading.epoch, 0), *present]):
                present.add(reading.seq)
                fresh.append(reading)
            else:
                sensor.audit["duplicate"] += 1
        for name, epoch in {**numbers, **told}:
            self._close_gaps(self.sensors[name], epoch, numbers[name, epoch], told[name, epoch])
        return fresh

    @staticmethod
    def _close_gaps(sensor: Sensor, epoch: int, present: set[int], told: list[range]) -> None:
        cursor = sensor.cursors.get(epoch, 0)
        head = max([cursor, *present, *(hole[-1] for hole in told)])
        missing = [number for number in range(cursor + 1, head + 1) if number not in present]
        unnamed = [number for number in missing if not any(number in hole for hole in told)]
        covered: set[int] = set()
        named = 0
        for hole in sorted(told, key=lambda hole: (hole[0], hole[-1])):
            new = {number for number in missing if number in hole} - covered
            named += bool(new)
            covered |= new
        runs = sum(number - 1 not in unnamed for number in unnamed)
        sensor.audit["gaps"] += named + runs
        sensor.audit["gap_readings"] += len(missing)
        sensor.cursors[epoch] = head

    def _fate(self, reading: Reading) -> str:
        sensor = self.sensors[reading.sensor]
        fate = "aggregated"
        if reading.verdict:
            fate = "quarantined"
        elif reading.quality:
            fate = "excluded"
        elif sensor.closed is not None and reading.time < sensor.closed:
            fate = "too_late"
        sensor.audit[fate] += 1
        return fate

    def _advance(self, aggregated: list[Reading]) -> None:
        for reading in aggregated:
            sensor = self.sensors[reading.sensor]
            before = reading.time if sensor.watermark is None else sensor.watermark
            sensor.watermark = max(reading.time, before)
            if self.policy is not None:
                closed = sensor.watermark - self.policy.horizon_ms * MS
                sensor.closed = closed if sensor.closed is None else max(closed, sensor.closed)

    def _due(self, key: WindowKey, look_for_idle: bool) -> bool:
        sensor = self.sensors[key[0]]
        end = key[4] + key[3] * MS
        if sensor.watermark is not None and sensor.watermark >= end:
            return True
        idle_close = self.policy.idle_close_ms * MS if self.policy else 0
        return look_for_idle and self.now >= max(end, sensor.seen or 0) + idle_close

    def _emit(self, key: WindowKey) -> Emitted:
        window = self.windows[key]
        window.revision += 1
        sizes = self.policy.sizes if self.policy else []
        journalled = any(size.size_ms == key[3] and size.journalled for size in sizes)
        site = self.sensors[key[0]].site
        return Emitted(key, window.revision, journalled, site, tuple(window.readings))


def key_of(row: Mapping[str, Any]) -> WindowKey:
    """Return the key of a row as `plain` gives it."""
    return (row["sensor"], row["metric"], row["unit"], row["size_ms"], row["start"])


def plain(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Return rows of WINDOWS_SCHEMA as dictionaries, times as Unix ns."""
    columns = {
        field.name: (column.cast(pa.int64()) if pa.types.is_timestamp(field.type) else column).to_pylist()
        for field, column in zip(batch.schema, batch.columns, strict=True)
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def mismatches(row: Mapping[str, Any], expected: Emitted) -> list[str]:
    """Return what is wrong with a row, a sentence each; none if it is right.

    Exact where the fold is exact; mean, sum and deviation to rounding, quantiles to the sketch's accuracy.
    """
    ordered = sorted(expected.readings, key=lambda reading: (reading.time, reading.seq))
    values = [reading.value for reading in ordered]
    exact = {
        "revision": expected.revision,
        "site": expected.site,
        "count": len(values),
        "min": min(values),
        "max": max(values),
        "first": values[0],
        "first_time": ordered[0].time,
        "last": values[-1],
        "last_time": ordered[-1].time,
    }
    wrong = [f"{name} is {row[name]}, not {value}" for name, value in exact.items() if row[name] != value]
    magnitude = max(abs(value) for value in values)
    total = sum(map(Fraction, values), Fraction(0))
    mean = total / len(values)
    wrong += _differs("sum", row["sum"], _saturate(total), 1e-12 * magnitude * len(values))
    wrong += _differs("mean", row["mean"], float(mean), 1e-12 * magnitude)
    wrong += _differs_deviation(row["stddev"], values, mean, 1e-12 * magnitude)
    values.sort()
    for name, q in (("p50", 0.50), ("p95", 0.95), ("p99", 0.99)):
        exact_quantile = values[math.floor(q * (len(values) - 1))]
        peak = max((abs(value) for value in values if (value > 0) == (exact_quantile > 0)), default=0.0)
        slack = RELATIVE_ACCURACY * 1.000001 * abs(exact_quantile)
        if abs(exact_quantile) < peak * COLLAPSED:
            slack = peak * COLLAPSED
        wrong += _differs(name, row[name], exact_quantile, slack)
    return [f"{expected.key} revision {expected.revision}: {problem}" for problem in wrong]


def _differs(name: str, got: float, wanted: float, slack: float) -> list[str]:
    slack += 4 * 5e-324  # where float64 has no more digits
    return [] if abs(got - wanted) <= slack else [f"{name} is {got}, not {wanted} within {slack}"]


def _differs_deviation(got: float | None, values: list[float], mean: Fraction, slack: float) -> list[str]:
    if len(values) < 2:
        return [] if got is None else [f"stddev is {got}, not null"]
    if got is None:
        return ["stddev is null"]
    variance = sum(((Fraction(value) - mean) ** 2 for value in values), Fraction(0)) / (len(values) - 1)
    wanted = _root(variance)
    return _differs("stddev", got, wanted, slack + 1e-9 * wanted)


def _root(number: Fraction) -> float:
    """Return the square root of a fraction, also where its float is not finite or zero."""
    scale = Fraction(2) ** ((number.numerator.bit_length() - number.denominator.bit_length()) // 2)
    return _saturate(Fraction(math.sqrt(number / scale**2)) * scale)


def _saturate(number: Fraction) -> float:
    return float(min(max(number, Fraction(-LARGEST)), Fraction(LARGEST)))
