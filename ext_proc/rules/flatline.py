"""The kind `flatline`: a value that does not move."""

from __future__ import annotations

from typing import Final

import numpy as np

from ext_proc.rules.hysteresis import Turn
from ext_proc.rules.lanes import CLEAR, NEVER, OPEN, Lanes
from ext_proc.rules.runs import Runs
from ext_proc.windows.arrays import Bools, Ints
from wire.gen.gaugeway.config.v1 import config_pb2

_MS: Final = 1_000_000
_SURE: Final = 4  # 2 in exact arithmetic
_STEPS: Final = 8
_NONE: Final = -1


class FlatlineEvaluator:
    """Begins when no value has differed by more than `epsilon` for `for_ms` of event time.

    Values are compared with the anchor: the reading that was the last to differ
    from the anchor before it by more than epsilon. So a slow drift is no flat
    line. An event begins with the anchor, and ends with the next one.
    """

    def __init__(self, flatline: config_pb2.Flatline) -> None:
        self._epsilon = flatline.epsilon
        self._for_ns = flatline.for_ms * _MS

    def see(self, lanes: Lanes, lane: Ints, runs: Runs, now_unix_ns: int) -> list[Turn]:  # noqa: ARG002
        """See Evaluator.

        Where a value differs from the one before by more than _SURE epsilons, it
        differs from the anchor by more than one, whichever that is: so most
        anchors are found at once, and only runs that may hold an event, or that
        move on in many small steps, are looked at one reading after the other.
        """
        starts, lengths = runs.starts, runs.lengths
        index = np.arange(len(runs.time))
        jump = self._jumps(lanes, lane, runs)
        at = np.maximum.accumulate(np.where(jump, index, -1))  # the newest jump; in an earlier run if none
        inside = at >= np.repeat(starts, lengths)
        begun = np.where(inside, runs.time[at], np.repeat(lanes.anchor[lane], lengths))
        longest = np.maximum.reduceat(runs.time - begun, starts)
        last = starts + lengths - 1
        moved = np.where(inside[last], at[last], _NONE)
        anchor, left = self._creep(lanes, lane, runs, moved)
        opened = lanes.phase[lane] == OPEN
        slow = left | (~opened & (longest >= self._for_ns)) | (opened & (anchor != _NONE))
        quick = ~slow & (anchor != _NONE)
        _set_anchor(lanes, lane[quick], runs, anchor[quick])
        found: list[Turn] = []
        for run in slow.nonzero()[0].tolist():
            first = int(starts[run])
            found += self._walk(lanes, int(lane[run]), runs, first, first + int(lengths[run]))
        return found

    def tick(self, lanes: Lanes, now_unix_ns: int) -> list[Turn]:  # noqa: ARG002
        """See Evaluator."""
        return []

    def pause(self, lanes: Lanes, pause_ns: int) -> None:
        """See Evaluator."""

    def _jumps(self, lanes: Lanes, lane: Ints, runs: Runs) -> Bools:
        """Return, by reading, whether it is an anchor for sure."""
        value, starts = runs.value, runs.starts
        jump = np.empty(len(value), bool)
        with np.errstate(over="ignore"):
            np.greater(np.abs(value[1:] - value[:-1]), _SURE * self._epsilon, out=jump[1:])
            first = np.abs(value[starts] - lanes.anchor_value[lane]) > self._epsilon
        jump[starts] = first | (lanes.anchor[lane] == NEVER)
        return jump

    def _creep(self, lanes: Lanes, lane: Ints, runs: Runs, anchor: Ints) -> tuple[Ints, Bools]:
        """Return, by run, its last anchor (_NONE: that of the lane stays), and where it was not found.

        From `anchor` on, one step in all runs at once, _STEPS times at most.
        """
        index, starts, lengths = np.arange(len(runs.time)), runs.starts, runs.lengths
        for _ in range(_STEPS):
            value = np.where(anchor != _NONE, runs.value[anchor], lanes.anchor_value[lane])
            with np.errstate(over="ignore"):
                off = np.abs(runs.value - np.repeat(value, lengths)) > self._epsilon
            off &= index > np.repeat(anchor, lengths)
            step = np.minimum.reduceat(np.where(off, index, len(index)), starts)
            moves = step < len(index)
            if not moves.any():
                return anchor, moves
            anchor = np.where(moves, step, anchor)
        return anchor, moves

    def _walk(self, lanes: Lanes, lane: int, runs: Runs, first: int, end: int) -> list[Turn]:
        place, phase = int(lanes.place[lane]), int(lanes.phase[lane])
        at, value = int(lanes.anchor[lane]), float(lanes.anchor_value[lane])
        epoch, seq = int(lanes.anchor_epoch[lane]), int(lanes.anchor_seq[lane])
        found: list[Turn] = []
        columns = (runs.time, runs.value, runs.epoch, runs.seq)
        for time, now, its_epoch, its_seq in zip(
            *(column[first:end].tolist() for column in columns), strict=True
        ):
            if at == NEVER or abs(now - value) > self._epsilon:
                if phase == OPEN:
                    phase = CLEAR
                    found.append(Turn(place, False, time, now, at, epoch, seq, "cleared"))
                at, value, epoch, seq = time, now, its_epoch, its_seq
            elif phase == CLEAR and time - at >= self._for_ns:
                phase = OPEN
                found.append(Turn(place, True, time, now, at, epoch, seq))
        lanes.phase[lane] = phase
        lanes.anchor[lane], lanes.anchor_value[lane] = at, value
        lanes.anchor_epoch[lane], lanes.anchor_seq[lane] = epoch, seq
        if phase == OPEN:
            lanes.since[lane], lanes.since_epoch[lane], lanes.since_seq[lane] = at, epoch, seq
        return found


def _set_anchor(lanes: Lanes, lane: Ints, runs: Runs, reading: Ints) -> None:
    lanes.anchor[lane], lanes.anchor_value[lane] = runs.time[reading], runs.value[reading]
    lanes.anchor_epoch[lane], lanes.anchor_seq[lane] = runs.epoch[reading], runs.seq[reading]
