"""The fold of a shard's readings log into windows and audit counters.

Only the log matters: folding the same records again, from any checkpoint,
gives the same rows with the same revisions, byte for byte.

What becomes of a reading, the first that holds:
  duplicate    its seq is not above the cursor of its epoch
  quarantined  the session's verdict is not OK
  excluded     its quality is not GOOD
  too_late     its event time is before watermark - horizon
  aggregated   otherwise
A sensor's watermark is the highest event time of its aggregated readings. It
moves once a record: lateness is judged by the watermark before the record, so
the order within a record does not matter.

A window is emitted (revision 1) when the watermark reaches its end, or when
the sensor has been idle in log time (docs/adr/0003): idleness does not move
the watermark. Readings for an emitted window emit it again, once a record,
with the next revision. Its state is dropped when its end is at or before
watermark - horizon.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ext_proc.windows import state
from ext_proc.windows.rows import concat, encode_windows
from ext_proc.windows.sensors import Sensors
from ext_proc.windows.table import Bools, Ints, Sorted, WindowTable
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import READINGS_SCHEMA, SCHEMA_VERSION, Quality, Verdict, check_schema, decode_rows
from wire.status import ShardAudit

_MS: Final = 1_000_000
_IDLE_CHECK_NS: Final = 250 * _MS


class LogOrderError(ValueError):
    """A record does not follow the ones before it. The fold is unchanged."""


@dataclass(frozen=True, slots=True)
class FoldOutput:
    """Rows of WINDOWS_SCHEMA that one record emitted, in fold order."""

    journalled: pa.RecordBatch  # of the sizes that go back to the journal
    live: pa.RecordBatch  # of every size


@dataclass(frozen=True, slots=True)
class _Readings:
    """One record's rows as arrays; `sensor` and `series` are indexes of the fold."""

    sensor: Ints
    series: Ints
    epoch: npt.NDArray[np.uint64]
    seq: Ints
    time: Ints
    value: npt.NDArray[np.float64]
    quality: npt.NDArray[np.uint8]
    verdict: npt.NDArray[np.uint8]


_Emitted = tuple[bool, pa.RecordBatch]


class Fold:
    """The state after `through`."""

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.generation = 0
        self.through = 0
        self.now_unix_ns = 0
        self.policy = config_pb2.WindowPolicy()
        self.sensors = Sensors()
        self.series: list[tuple[int, str, str]] = []  # (sensor index, metric, unit)
        self._series_index: dict[tuple[int, str, str], int] = {}
        self.series_sensor: Ints = np.empty(0, np.int64)
        self.tables: dict[int, WindowTable] = {}  # by size in ms

    @classmethod
    def restore(cls, checkpoint: journal_pb2.Checkpoint) -> Fold:
        """Return the fold that wrote `checkpoint`. Raises JournalFormatError."""
        check_schema(checkpoint.schema)
        fold = cls(checkpoint.shard)
        fold.generation, fold.through = checkpoint.generation, checkpoint.through
        fold.now_unix_ns = checkpoint.now_unix_ns
        fold.policy.CopyFrom(checkpoint.policy)
        fold.sensors = state.restore_sensors(checkpoint.tables)
        for key in state.restore_series(checkpoint.tables):
            fold._series_of(*key)
        fold.tables = {
            size.size_ms: state.restore_table(size.size_ms, checkpoint.tables) for size in fold.policy.sizes
        }
        return fold

    def checkpoint(self) -> journal_pb2.Checkpoint:
        """Return the whole state."""
        return journal_pb2.Checkpoint(
            schema=SCHEMA_VERSION,
            shard=self.shard,
            generation=self.generation,
            through=self.through,
            now_unix_ns=self.now_unix_ns,
            policy=self.policy,
            tables=state.save(self.sensors, self.series, self.tables),
        )

    def cursors(self) -> dict[str, dict[int, int]]:
        """Return the committed cursors: sensor to {epoch: highest seq}, the newest epoch last."""
        return {
            name: dict(cursors)
            for name, cursors in zip(self.sensors.names, self.sensors.cursors, strict=True)
            if cursors
        }

    def audit(self) -> ShardAudit:
        """Return the audit counters of every sensor."""
        return ShardAudit(
            shard=self.shard,
            generation=self.generation,
            through=self.through,
            sensors=self.sensors.audit(),
        )

    def apply(self, seq: int, record: journal_pb2.ReadingsRecord) -> FoldOutput:
        """Fold the record with journal sequence `seq`; return the rows it emits.

        Raises LogOrderError or JournalFormatError; the state is then unchanged.
        """
        self._check(seq, record)
        batch = decode_rows(record.rows, READINGS_SCHEMA) if record.count else None
        idle_check = record.now_unix_ns // _IDLE_CHECK_NS > self.now_unix_ns // _IDLE_CHECK_NS
        self.through, self.generation, self.now_unix_ns = seq, record.generation, record.now_unix_ns
        emitted: list[_Emitted] = []
        if record.HasField("policy"):
            emitted += self._change_policy(record.policy)
        aggregated = None
        if batch is not None or record.notes:
            aggregated = self._account(batch, record.notes)
        touched = {size: np.empty(0, np.int64) for size in self.tables}
        if aggregated is not None and len(aggregated.series):
            touched = {size: table.add(aggregated) for size, table in self.tables.items()}
            sensors = self.series_sensor[aggregated.series]
            np.maximum.at(self.sensors.watermark, sensors, aggregated.time)
        if aggregated is not None or idle_check:
            for size, table in self.tables.items():
                emitted.append(self._emit(size, table, touched[size], idle_check))
                self._drop(table)
        return FoldOutput(
            journalled=concat([rows for journalled, rows in emitted if journalled]),
            live=concat([rows for _, rows in emitted]),
        )

    def _check(self, seq: int, record: journal_pb2.ReadingsRecord) -> None:
        check_schema(record.schema)
        if record.shard != self.shard:
            raise LogOrderError(f"a record of shard {record.shard} in the log of shard {self.shard}")
        if record.generation < self.generation:
            raise LogOrderError(f"generation {record.generation} after {self.generation}")
        if seq <= self.through and record.generation == self.generation:
            raise LogOrderError(f"sequence {seq} after {self.through}")
        if record.now_unix_ns < self.now_unix_ns:
            raise LogOrderError(f"now {record.now_unix_ns} after {self.now_unix_ns}")

    def _change_policy(self, policy: config_pb2.WindowPolicy) -> list[_Emitted]:
        """Take `policy` over; windows of sizes that are gone are emitted once and dropped."""
        kept = {size.size_ms for size in policy.sizes}
        gone = []
        for size in [size for size in self.tables if size not in kept]:
            table = self.tables.pop(size)
            rows = np.flatnonzero(table.ints("revision") == 0)
            table.ints("revision")[rows] += 1
            gone.append(self._rows(size, table, rows))
        self.policy = config_pb2.WindowPolicy()
        self.policy.CopyFrom(policy)
        for entry in sorted(policy.sizes, key=lambda entry: entry.size_ms):
            self.tables.setdefault(entry.size_ms, WindowTable(entry.size_ms * _MS))
        self.tables = dict(sorted(self.tables.items()))
        return gone

    def _journalled(self, size_ms: int) -> bool:
        return any(entry.size_ms == size_ms and entry.journalled for entry in self.policy.sizes)

    def _account(
        self, batch: pa.RecordBatch | None, notes: Iterable[journal_pb2.StreamNote]
    ) -> Sorted | None:
        """Settle the fate of every reading and note; return what is to be aggregated."""
        sensors = self.sensors
        holes: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for note in notes:
            sensor = sensors.index(note.sensor_id)
            if note.HasField("duplicates"):
                sensors.count(sensor, "duplicate", note.duplicates.count)
                sensors.count(sensor, "received", note.duplicates.count)
            elif note.HasField("undecodable"):
                sensors.count(sensor, "undecodable_frames", note.undecodable.frames)
            elif note.HasField("hole"):
                hole = (note.hole.first_seq, note.hole.last_seq)
                holes.setdefault((sensor, note.epoch), []).append(hole)
        readings = self._columns(batch) if batch is not None and batch.num_rows else None
        fresh = self._advance(readings, holes)
        if readings is None:
            return None
        return self._judge(readings, fresh)

    def _columns(self, batch: pa.RecordBatch) -> _Readings:
        """Return the rows as arrays, naming sensors and series by index."""
        words = [batch.column(name) for name in ("sensor", "metric", "unit", "site")]
        codes = [np.asarray(word.indices, dtype=np.int64) for word in words]
        names = [word.dictionary.to_pylist() for word in words]
        combined = codes[0]
        for code, name in zip(codes[1:], names[1:], strict=True):
            combined = combined * max(len(name), 1) + code
        _, first, inverse = np.unique(combined, return_index=True, return_inverse=True)
        series = np.empty(len(first), np.int64)
        for place in np.argsort(first):  # in the log's order, so that indexes do not depend on hashing
            row = first[place]
            sensor, metric, unit, site = (name[code[row]] for name, code in zip(names, codes, strict=True))
            index = self.sensors.index(sensor)
            self.sensors.sites[index] = site
            series[place] = self._series_of(index, metric, unit)
        series = series[inverse]
        return _Readings(
            sensor=self.series_sensor[series],
            series=series,
            epoch=_numpy(batch, "epoch"),
            seq=_numpy(batch, "seq").astype(np.int64),
            time=np.asarray(batch.column("time").cast(pa.int64())),
            value=_numpy(batch, "value"),
            quality=_numpy(batch, "quality"),
            verdict=_numpy(batch, "verdict"),
        )

    def _series_of(self, sensor: int, metric: str, unit: str) -> int:
        key = (sensor, metric, unit)
        found = self._series_index.get(key)
        if found is None:
            found = self._series_index[key] = len(self.series)
            self.series.append(key)
            self.series_sensor = np.append(self.series_sensor, sensor)
        return found

    def _advance(
        self, readings: _Readings | None, holes: dict[tuple[int, int], list[tuple[int, int]]]
    ) -> Bools:
        """Move the cursors over readings and holes; return which readings are not duplicates."""
        groups: dict[tuple[int, int], Ints] = {}
        fresh = np.ones(len(readings.seq) if readings is not None else 0, bool)
        if readings is not None:
            order = np.lexsort((readings.epoch, readings.sensor))
            change = (np.diff(readings.sensor[order]) != 0) | (np.diff(readings.epoch[order]) != 0)
            for rows in np.split(order, np.flatnonzero(change) + 1):
                groups[int(readings.sensor[rows[0]]), int(readings.epoch[rows[0]])] = rows
        for key in [*groups, *(key for key in holes if key not in groups)]:
            sensor, epoch = key
            cursor = self.sensors.cursor(sensor, epoch)
            told = [(max(first, cursor + 1), last) for first, last in holes.get(key, ()) if last > cursor]
            head = max([cursor, *(last for _, last in told)])
            present = 0
            if readings is not None and key in groups:
                rows = groups[key]
                fresh[rows] = readings.seq[rows] > cursor
                present = int(fresh[rows].sum())
                head = max(head, int(readings.seq[rows].max()))
            missing = sum(last - first + 1 for first, last in told)
            untold = head - cursor - present - missing
            self.sensors.count(sensor, "gaps", len(told) + (untold > 0))
            self.sensors.count(sensor, "gap_readings", missing + max(untold, 0))
            self.sensors.advance(sensor, epoch, head)
        return fresh

    def _judge(self, readings: _Readings, fresh: Bools) -> Sorted:
        """Count each reading's fate; return the aggregated ones, sorted."""
        sensors = self.sensors
        horizon = self.policy.horizon_ms * _MS
        good = readings.verdict == Verdict.OK
        clean = readings.quality == Quality.GOOD
        in_time = readings.time >= sensors.watermark[readings.sensor] - horizon
        fates = {
            "received": np.ones(len(fresh), bool),
            "duplicate": ~fresh,
            "quarantined": fresh & ~good,
            "excluded": fresh & good & ~clean,
            "too_late": fresh & good & clean & ~in_time,
            "aggregated": fresh & good & clean & in_time,
        }
        for name, mask in fates.items():
            sensors.count_each(readings.sensor[mask], name)
        sensors.last_seen[readings.sensor[fresh]] = self.now_unix_ns
        rows = np.flatnonzero(fates["aggregated"])
        order = rows[np.lexsort((readings.seq[rows], readings.time[rows], readings.series[rows]))]
        return Sorted(
            readings.series[order], readings.time[order], readings.seq[order], readings.value[order]
        )

    def _emit(self, size_ms: int, table: WindowTable, touched: Ints, idle_check: bool) -> _Emitted:
        sensor = self.series_sensor[table.series]
        due = self.sensors.watermark[sensor] >= table.end
        if idle_check:
            seen = np.maximum(table.end, self.sensors.last_seen[sensor])
            due |= self.now_unix_ns >= seen + self.policy.idle_close_ms * _MS
        revision = table.ints("revision")
        emit = due & (revision == 0)
        again = np.zeros(len(table), bool)
        again[touched] = revision[touched] > 0
        rows = np.flatnonzero(emit | again)
        revision[rows] += 1
        return self._rows(size_ms, table, rows)

    def _drop(self, table: WindowTable) -> None:
        watermark = self.sensors.watermark[self.series_sensor[table.series]]
        over = table.end <= watermark - self.policy.horizon_ms * _MS
        table.keep(~(over & (table.ints("revision") > 0)))

    def _rows(self, size_ms: int, table: WindowTable, rows: Ints) -> _Emitted:
        return self._journalled(size_ms), encode_windows(table, rows, self.sensors, self.series)


def _numpy(batch: pa.RecordBatch, name: str) -> npt.NDArray[Any]:
    return batch.column(name).to_numpy(zero_copy_only=True)
