"""The kinds of rules. What each means is said in docs/adr/0016; all times are Unix ns."""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np

from ext_proc.rules.flatline import FlatlineEvaluator
from ext_proc.rules.hysteresis import Signal, Turn, follow
from ext_proc.rules.lanes import CLEAR, NEVER, OPEN, Lanes
from ext_proc.rules.runs import Runs
from ext_proc.windows.arrays import Floats, Ints
from wire.gen.gaugeway.config.v1 import config_pb2

_MS: Final = 1_000_000
_S: Final = 1_000_000_000
_LARGEST: Final = np.finfo(np.float64).max


class Evaluator(Protocol):
    """One rule's kind and its levels. Its state is in the lanes."""

    def see(self, lanes: Lanes, lane: Ints, runs: Runs, now_unix_ns: int) -> list[Turn]:
        """Move lanes over runs, `lane[i]` over run i; return what turns, run after run."""
        ...

    def tick(self, lanes: Lanes, now_unix_ns: int) -> list[Turn]:
        """Return what turns because it is `now_unix_ns` by the log's clock."""
        ...

    def pause(self, lanes: Lanes, pause_ns: int) -> None:
        """Have `pause_ns` of log time, in which nobody wrote the log, not count."""
        ...


def evaluator_of(rule: config_pb2.Rule) -> Evaluator:
    """Return the evaluator of a rule about series; one about clocks has ClockSkew (clock.py)."""
    match rule.WhichOneof("condition"):
        case "threshold":
            return ThresholdEvaluator(rule.threshold)
        case "rate":
            return RateEvaluator(rule.rate)
        case "flatline":
            return FlatlineEvaluator(rule.flatline)
        case _:
            return MissingEvaluator(rule.missing)


class ThresholdEvaluator:
    """Begins beyond `level`, for `for_ms` of event time; ends when a value is back at `clear`."""

    def __init__(self, threshold: config_pb2.Threshold) -> None:
        self._above = threshold.side == config_pb2.Threshold.ABOVE
        self._level, self._clear = threshold.level, threshold.clear
        self._hold_ns = threshold.for_ms * _MS

    def see(self, lanes: Lanes, lane: Ints, runs: Runs, now_unix_ns: int) -> list[Turn]:  # noqa: ARG002
        """See Evaluator."""
        value = runs.value
        if self._above:
            signal = Signal(lane, runs, value, value > self._level, value <= self._clear)
        else:
            signal = Signal(lane, runs, value, value < self._level, value >= self._clear)
        return follow(lanes, signal, self._hold_ns)

    def tick(self, lanes: Lanes, now_unix_ns: int) -> list[Turn]:  # noqa: ARG002
        """See Evaluator."""
        return []

    def pause(self, lanes: Lanes, pause_ns: int) -> None:
        """See Evaluator."""


class RateEvaluator:
    """Begins beyond a change of `per_s` a second, ends when a change is back at `clear`.

    The change is taken between the first readings of successive spans of event
    time (span k is [k * span_ms, (k + 1) * span_ms); those without readings are
    left out), where they are at least half a span apart. So what it finds does
    not depend on how often a sensor is read. The anchor is the first reading of
    the newest span.
    """

    def __init__(self, rate: config_pb2.Rate) -> None:
        self._direction = rate.direction
        self._level, self._clear = rate.per_s, rate.clear
        self._span_ns = rate.span_ms * _MS

    def see(self, lanes: Lanes, lane: Ints, runs: Runs, now_unix_ns: int) -> list[Turn]:  # noqa: ARG002
        """See Evaluator."""
        firsts = self._first_of_spans(lanes, lane, runs)
        if firsts is None:
            return []
        with_lane = firsts.place  # `place` of these runs is the lane
        before_time, before_value = _shifted(firsts, lanes.anchor[with_lane], lanes.anchor_value[with_lane])
        last = firsts.starts + firsts.lengths - 1
        lanes.anchor[with_lane], lanes.anchor_value[with_lane] = firsts.time[last], firsts.value[last]
        known = before_time != NEVER
        apart = np.where(known, firsts.time - before_time, 0)
        measured = known & (2 * apart >= self._span_ns)
        if not measured.any():
            return []
        with np.errstate(over="ignore"):
            change = np.clip(firsts.value - before_value, -_LARGEST, _LARGEST)
            rate = np.clip(change / (np.maximum(apart, 1) / _S), -_LARGEST, _LARGEST)
        measures = Runs(with_lane, firsts.starts, firsts.time, rate, firsts.epoch, firsts.seq).only(measured)
        size = self._sized(measures.value)
        over, back = size > self._level, size <= self._clear
        return follow(lanes, Signal(measures.place, measures, measures.value, over, back), 0)

    def tick(self, lanes: Lanes, now_unix_ns: int) -> list[Turn]:  # noqa: ARG002
        """See Evaluator."""
        return []

    def pause(self, lanes: Lanes, pause_ns: int) -> None:
        """See Evaluator."""

    def _first_of_spans(self, lanes: Lanes, lane: Ints, runs: Runs) -> Runs | None:
        span = runs.time // self._span_ns
        new = np.empty(len(span), bool)
        np.not_equal(span[1:], span[:-1], out=new[1:])
        new[runs.starts] = span[runs.starts] != lanes.anchor[lane] // self._span_ns
        if not new.any():
            return None
        return Runs(lane, runs.starts, runs.time, runs.value, runs.epoch, runs.seq).only(new)

    def _sized(self, rate: Floats) -> Floats:
        if self._direction == config_pb2.Rate.EITHER:
            size: Floats = np.abs(rate)
            return size
        return rate if self._direction == config_pb2.Rate.RISE else -rate


def _shifted(runs: Runs, time: Ints, value: Floats) -> tuple[Ints, Floats]:
    """Return, by reading, time and value of the one before; of a run's first, those given by run."""
    before_time, before_value = np.empty_like(runs.time), np.empty_like(runs.value)
    before_time[1:], before_value[1:] = runs.time[:-1], runs.value[:-1]
    before_time[runs.starts], before_value[runs.starts] = time, value
    return before_time, before_value


class MissingEvaluator:
    """Begins when a series that had readings has none for `for_ms` of log time; ends with the next.

    The anchor is the newest reading, at the log time when it came. Time in which
    nobody wrote the log says nothing of a sensor: it does not count.
    """

    def __init__(self, missing: config_pb2.Missing) -> None:
        self._for_ns = missing.for_ms * _MS

    def see(self, lanes: Lanes, lane: Ints, runs: Runs, now_unix_ns: int) -> list[Turn]:
        """See Evaluator."""
        ended = lane[lanes.phase[lane] == OPEN]
        turns = [_missing_turn(lanes, each, begins=False, time=now_unix_ns) for each in ended.tolist()]
        lanes.phase[ended] = CLEAR
        last = runs.starts + runs.lengths - 1
        lanes.anchor[lane] = lanes.heard[lane] = now_unix_ns
        lanes.anchor_epoch[lane], lanes.anchor_seq[lane] = runs.epoch[last], runs.seq[last]
        return turns

    def tick(self, lanes: Lanes, now_unix_ns: int) -> list[Turn]:
        """See Evaluator."""
        count = lanes.count
        silent = lanes.heard[:count] <= now_unix_ns - self._for_ns
        begun = np.flatnonzero(silent & (lanes.phase[:count] == CLEAR))
        lanes.phase[begun] = OPEN
        for name in ("", "_epoch", "_seq"):
            getattr(lanes, "since" + name)[begun] = getattr(lanes, "anchor" + name)[begun]
        turns = [
            _missing_turn(lanes, lane, begins=True, time=int(lanes.heard[lane]) + self._for_ns)
            for lane in begun.tolist()
        ]
        return sorted(turns)  # not by lane: their order says when a rule came

    def pause(self, lanes: Lanes, pause_ns: int) -> None:
        """See Evaluator."""
        lanes.heard[: lanes.count] += pause_ns


def _missing_turn(lanes: Lanes, lane: int, *, begins: bool, time: int) -> Turn:
    since = int(lanes.since[lane]), int(lanes.since_epoch[lane]), int(lanes.since_seq[lane])
    return Turn(int(lanes.place[lane]), begins, time, None, *since, "" if begins else "cleared")
