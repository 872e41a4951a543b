"""The readings of a record as rules see them: each series in one run, in the order of the log.

A reading whose event time is before the newest that the rules have seen of its
series is passed over: a rule sees event time go forward only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ext_proc.rules.lanes import NEVER
from ext_proc.windows.accounts import Settled
from ext_proc.windows.arrays import Bools, Floats, Ints, grown, ranges


@dataclass(frozen=True, slots=True)
class Runs:
    """Readings; those of run i are starts[i]..starts[i + 1] - 1. No run is empty.

    Attributes:
        place: By run: the series, or the sensor.
        starts: By run.
        time: Unix ns; event time of the readings of a series, log time of those of a sensor.
    """

    place: Ints
    starts: Ints
    time: Ints
    value: Floats
    epoch: Ints
    seq: Ints

    @property
    def lengths(self) -> Ints:
        """Return how many readings each run has."""
        return np.diff(self.starts, append=len(self.time))

    def chosen(self, runs: Bools) -> Runs:
        """Return only the runs of a mask."""
        if runs.all():
            return self
        lengths = self.lengths[runs]
        return self._of(ranges(self.starts[runs], lengths), self.place[runs], np.cumsum(lengths) - lengths)

    def only(self, readings: Bools) -> Runs:
        """Return only the readings of a mask, and the runs that have any."""
        counts = np.add.reduceat(readings, self.starts, dtype=np.int64)
        left = counts > 0
        counts = counts[left]
        return self._of(readings.nonzero()[0], self.place[left], np.cumsum(counts) - counts)

    def _of(self, rows: Ints, place: Ints, starts: Ints) -> Runs:
        return Runs(place, starts, self.time[rows], self.value[rows], self.epoch[rows], self.seq[rows])


def runs_of(place: Ints, time: Ints, value: Floats, epoch: Ints, seq: Ints) -> Runs:
    """Return readings, each place's together, as runs."""
    starts = np.flatnonzero(np.concatenate(([True], place[1:] != place[:-1])))
    return Runs(place[starts], starts, time, value, epoch, seq)


class Newest:
    """By series, the newest event time that the rules have seen; what is before it they do not see."""

    def __init__(self) -> None:
        self.time: Ints = np.empty(0, np.int64)

    def see(self, settled: Settled) -> Runs | None:
        """Return the aggregated readings that rules see; None if there are none."""
        readings = settled.readings
        if readings is None:
            return None
        runs = runs_of(
            readings.series,
            readings.time,
            readings.value,
            settled.rows.epoch[readings.row].view(np.int64),
            readings.seq,
        )
        runs = self._forward(_as_logged(runs, readings.row))
        last = runs.starts + runs.lengths - 1
        if len(last):
            self.time[runs.place] = runs.time[last]
        return runs if len(last) else None

    def _forward(self, runs: Runs) -> Runs:
        self.time = grown(self.time, int(runs.place.max()) + 1, NEVER)
        back = np.empty(len(runs.time), bool)
        np.less(runs.time[1:], runs.time[:-1], out=back[1:])
        back[runs.starts] = runs.time[runs.starts] < self.time[runs.place]
        if not back.any():
            return runs
        run = np.repeat(np.arange(len(runs.place)), runs.lengths)
        _, rank = np.unique(np.concatenate((self.time[runs.place], runs.time)), return_inverse=True)
        before, rank = rank[: len(runs.place)], rank[len(runs.place) :]
        # Of ranks, small numbers, the maximum so far can be had for all runs at once.
        span = int(rank.max(initial=0) + before.max(initial=0)) + 1
        lifted = np.maximum(rank, before[run]) + run * span
        return runs.only(rank + run * span >= np.maximum.accumulate(lifted))


def _as_logged(runs: Runs, row: Ints) -> Runs:
    """Return runs, whose readings are by event time, by row of the record."""
    back = row[1:] < row[:-1]
    back[runs.starts[1:] - 1] = False
    if not back.any():
        return runs
    order = np.lexsort((row, np.repeat(np.arange(len(runs.place)), runs.lengths)))
    return Runs(
        runs.place, runs.starts, runs.time[order], runs.value[order], runs.epoch[order], runs.seq[order]
    )
