"""From a signal to beginnings and endings: hold time, and no flapping between two levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ext_proc.rules.lanes import CLEAR, OPEN, PENDING, Lanes
from ext_proc.rules.runs import Runs
from ext_proc.windows.arrays import Bools, Floats, Ints


class Turn(NamedTuple):
    """An event of a lane begins, or ends.

    Attributes:
        place: The lane's series, or sensor.
        begins: Or ends.
        time: When, Unix ns.
        value: What the rule looked at then; None if it looks at no value.
        since: Since when its condition held, Unix ns.
        epoch, seq: The reading that it begins with.
        reason: Why it ends: `cleared`, or what was done to the rule.
    """

    place: int
    begins: bool
    time: int
    value: float | None
    since: int
    epoch: int
    seq: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Signal:
    """What a kind makes of runs.

    Attributes:
        lane: By run.
        runs: Times, and the readings that events begin with.
        value: By reading: what is told of it.
        over: By reading: it is beyond the level.
        back: By reading: it is back at where events end; never where it is over.
    """

    lane: Ints
    runs: Runs
    value: Floats
    over: Bools
    back: Bools


def follow(lanes: Lanes, signal: Signal, hold_ns: int) -> list[Turn]:
    """Move lanes over a signal; return their turns, run after run.

    An event begins once the signal is over in every reading for `hold_ns`, and
    ends with the first that is back. Only runs in which something turns are
    looked at one reading after the other.
    """
    starts, lane = signal.runs.starts, signal.lane
    phase = lanes.phase[lane]
    last = signal.runs.time[starts + signal.runs.lengths - 1]
    any_over = np.logical_or.reduceat(signal.over, starts)
    turns = (phase == CLEAR) & any_over
    waiting = phase == PENDING
    if waiting.any():
        held = np.logical_and.reduceat(signal.over, starts) & (last - lanes.since[lane] < hold_ns)
        turns |= waiting & ~held
    opened = phase == OPEN
    if opened.any():
        turns |= opened & np.logical_or.reduceat(signal.back, starts)
    found: list[Turn] = []
    lengths = signal.runs.lengths
    for run in turns.nonzero()[0].tolist():
        readings = slice(int(starts[run]), int(starts[run] + lengths[run]))
        found += _walk(lanes, int(lane[run]), signal, readings, hold_ns)
    return found


def _walk(lanes: Lanes, lane: int, signal: Signal, readings: slice, hold_ns: int) -> list[Turn]:
    runs = signal.runs
    place, phase = int(lanes.place[lane]), int(lanes.phase[lane])
    since = int(lanes.since[lane]), int(lanes.since_epoch[lane]), int(lanes.since_seq[lane])
    found: list[Turn] = []
    columns = (runs.time, signal.over, signal.back, signal.value, runs.epoch, runs.seq)
    for time, over, back, value, epoch, seq in zip(
        *(column[readings].tolist() for column in columns), strict=True
    ):
        if phase == CLEAR and over:
            phase, since = PENDING, (time, epoch, seq)
        elif phase == PENDING and not over:
            phase = CLEAR
        elif phase == OPEN and back:
            phase = CLEAR
            found.append(Turn(place, False, time, value, *since, "cleared"))
        if phase == PENDING and time - since[0] >= hold_ns:
            phase = OPEN
            found.append(Turn(place, True, time, value, *since))
    lanes.phase[lane] = phase
    lanes.since[lane], lanes.since_epoch[lane], lanes.since_seq[lane] = since
    return found
