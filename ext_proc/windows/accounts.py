"""What a record's readings and notes mean for cursors, counters and clocks, before any window."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ext_proc.windows.arrays import Bools, Ints
from ext_proc.windows.audit import AuditCounters
from ext_proc.windows.cursors import Cursors, Epochs, Holes, Key
from ext_proc.windows.fates import settle
from ext_proc.windows.gaps import Interval
from ext_proc.windows.grouping import SortedReadings
from ext_proc.windows.names import Names
from ext_proc.windows.ordering import by_series
from ext_proc.windows.records import ReadingRows, compact
from ext_proc.windows.watermark import Watermarks
from wire.gen.gaugeway.journal.v1 import journal_pb2


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a record's rows.

    Attributes:
        rows: All of them.
        sensor: By row.
        fresh: By row: no duplicate.
        readings: Those that are aggregated; None if none is.
    """

    rows: ReadingRows
    sensor: Ints
    fresh: Bools
    readings: SortedReadings | None


class Accounts:
    """Everything that is kept by sensor."""

    def __init__(self) -> None:
        self.names = Names()
        self.clocks = Watermarks()
        self.audit = AuditCounters()
        self.cursors = Cursors()

    def settle(
        self, rows: ReadingRows | None, notes: Iterable[journal_pb2.StreamNote], now_unix_ns: int
    ) -> Settled | None:
        """Settle the fate of every reading and note; return what became of the rows, None without any.

        The watermarks do not move by this.
        """
        holes = self._read_notes(notes)
        if rows is None:
            self._move(np.empty(0, np.int64), np.empty(0, np.uint64), np.empty(0, np.int64), holes)
            return None
        sensors = self._sensors_of(rows)
        sensor = sensors[rows.sensor.code]
        fresh = self._move(sensor, rows.epoch, rows.seq, holes)
        in_time = self.clocks.in_time(sensor, rows.time)
        aggregated = settle(rows, fresh, in_time, sensors, self.audit)
        self.clocks.see(sensor, now_unix_ns)
        readings = self._sort(rows, sensors, sensor, aggregated) if aggregated.any() else None
        return Settled(rows, sensor, fresh, readings)

    def _read_notes(self, notes: Iterable[journal_pb2.StreamNote]) -> dict[Key, list[Interval]]:
        """Count notes; return the holes of known epochs, for the cursors to move over."""
        holes: dict[Key, list[Interval]] = {}
        for note in notes:
            sensor = self.names.sensor(note.sensor_id)
            self._reserve()
            match note.WhichOneof("what"):
                case "duplicates":
                    self.audit.count("received", sensor, note.duplicates.count)
                    self.audit.count("duplicate", sensor, note.duplicates.count)
                case "undecodable":
                    self.audit.count("undecodable_frames", sensor, note.undecodable.frames)
                case "interruption":  # how much is missing is not known
                    self._count_gaps(sensor, note.interruption.streams, 0)
                case "hole":
                    first, last = note.hole.first_seq, note.hole.last_seq
                    if note.epoch:
                        holes.setdefault((sensor, note.epoch), []).append((first, last))
                    else:  # no cursor to compare with
                        self._count_gaps(sensor, 1, last - first + 1)
        return holes

    def _reserve(self) -> None:
        self.clocks.reserve(len(self.names.sensors))
        self.audit.reserve(len(self.names.sensors))

    def _count_gaps(self, sensor: int, gaps: int, numbers: int) -> None:
        self.audit.count("gaps", sensor, gaps)
        self.audit.count("gap_readings", sensor, numbers)

    def _sensors_of(self, rows: ReadingRows) -> Ints:
        """Return the sensor of each word of `rows.sensor`; a sensor is where its last row says."""
        words = rows.sensor.words
        site = np.zeros(len(words), np.int64)
        site[rows.sensor.code] = rows.site.code  # where a sensor comes again, the last one stays
        sensors = np.zeros(len(words), np.int64)
        for code in rows.sensor.used().tolist():
            sensors[code] = self.names.sensor(words[code], rows.site.words[site[code]])
        self._reserve()
        return sensors

    def _move(self, sensor: Ints, epoch: Epochs, seq: Ints, holes: Holes) -> Bools:
        taken = self.cursors.take(sensor, epoch, seq, holes)
        for place, (gaps, numbers) in taken.gaps.items():
            self._count_gaps(place, gaps, numbers)
        return taken.fresh

    def _sort(self, rows: ReadingRows, sensors: Ints, sensor: Ints, aggregated: Bools) -> SortedReadings:
        """Return the aggregated readings by series. Only they name series: what others say is not bounded."""
        chosen: Ints | slice = slice(None) if aggregated.all() else aggregated.nonzero()[0]
        units = len(rows.unit.words)
        pair, pairs = compact(
            rows.metric.code[chosen] * units + rows.unit.code[chosen], len(rows.metric.words) * units
        )
        of_row, codes = compact(rows.sensor.code[chosen] * len(pairs) + pair, len(sensors) * len(pairs))
        of_series = codes % len(pairs)
        quantity = self._quantities(rows, pairs, of_series)
        series = self.names.series_of(sensors[codes // len(pairs)], quantity[of_series])
        time, seq = rows.time[chosen], rows.seq[chosen]
        order = by_series(of_row, time, seq)
        return SortedReadings(
            sensor=sensor[chosen][order],
            series=series[of_row[order]],
            time=time[order],
            seq=seq[order],
            value=rows.value[chosen][order],
            row=order if isinstance(chosen, slice) else chosen[order],
        )

    def _quantities(self, rows: ReadingRows, pairs: Ints, of_series: Ints) -> Ints:
        """Return the quantity of each pair (code of the metric * units + code of the unit).

        New ones are numbered in the order of the series that have them: a checkpoint holds series only.
        """
        first = np.empty(len(pairs), np.int64)
        first[of_series[::-1]] = np.arange(len(of_series))[::-1]  # the last of several assignments stays
        quantity = np.empty(len(pairs), np.int64)
        for place in np.argsort(first).tolist():
            metric, unit = divmod(int(pairs[place]), len(rows.unit.words))
            quantity[place] = self.names.quantity(rows.metric.words[metric], rows.unit.words[unit])
        return quantity
