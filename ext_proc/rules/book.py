"""The rules in force, and all that they remember."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from ext_proc.rules.clock import ClockEvaluator, clock_runs
from ext_proc.rules.evaluators import Evaluator, evaluator_of
from ext_proc.rules.events import RuleEvent, Subject
from ext_proc.rules.hysteresis import Turn
from ext_proc.rules.lanes import OPEN, Lanes
from ext_proc.rules.rule import Selection, check_rule
from ext_proc.rules.runs import Newest, Runs
from ext_proc.windows.accounts import Settled
from ext_proc.windows.arrays import Bools, Ints
from ext_proc.windows.names import Names
from wire.gen.gaugeway.config.v1 import config_pb2

CHANGED: Final = "rule_changed"
REMOVED: Final = "rule_removed"
MOVED: Final = "sensor_moved"
LIVE_NS: Final = 5_000_000_000  # R6 of wire/journal.py asks for a record a second


@dataclass(slots=True)
class RuleState:
    """One rule in force."""

    rule: config_pb2.Rule
    selection: Selection
    evaluator: Evaluator | ClockEvaluator
    lanes: Lanes

    @classmethod
    def of(cls, rule: config_pb2.Rule) -> RuleState:
        """Return a rule that has seen nothing. Raises RuleError."""
        check_rule(rule)
        about_clocks = rule.HasField("clock_skew")
        evaluator = ClockEvaluator(rule.clock_skew) if about_clocks else evaluator_of(rule)
        return cls(rule, Selection(rule.selection), evaluator, Lanes())

    @property
    def of_sensors(self) -> bool:
        """Whether its lanes are sensors, not series."""
        return isinstance(self.evaluator, ClockEvaluator)


class RuleBook:
    """Every rule by id, in order. Without any it costs nothing and remembers nothing.

    Attributes:
        newest: What the rules have seen of each series.
        states: By rule id, ascending.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self._moves = names.moves
        self.newest = Newest()
        self.states: dict[str, RuleState] = {}

    @property
    def active(self) -> bool:
        """Whether there is any rule."""
        return bool(self.states)

    def change(self, rules: config_pb2.RuleSet, now_unix_ns: int) -> list[RuleEvent]:
        """Have `rules` be in force, and no other; open events of those that went or differ end.

        Rules that are as they were go on as they were. Raises RuleError; nothing is changed then.
        """
        wanted = {rule.id: rule for rule in rules.rules}
        kept = {name: state for name, state in self.states.items() if wanted.get(name) == state.rule}
        states = {name: kept.get(name) or RuleState.of(rule) for name, rule in sorted(wanted.items())}
        ended: list[RuleEvent] = []
        for name, state in self.states.items():
            if name not in kept:
                reason = CHANGED if name in wanted else REMOVED
                ended += self._end(state, np.ones(state.lanes.count, bool), now_unix_ns, reason)
        self.states = states
        if not states:
            self.newest = Newest()
        return ended

    def follow(
        self,
        settled: Settled | None,
        now_unix_ns: int,
        policy: config_pb2.WindowPolicy,
        since_last_ns: int | None,
    ) -> Iterator[RuleEvent]:
        """Return the events that begin or end by a record's time, then by its rows, rule after rule.

        Args:
            settled: The rows, if there are any.
            now_unix_ns: The record's time.
            policy: The window policy in force.
            since_last_ns: Its time since the record before, of which a writer would have let pass
                LIVE_NS at most; None: time is not looked at.
        """
        yield from self._move_sensors(now_unix_ns)
        if since_last_ns is not None:
            yield from self._tick(now_unix_ns, max(0, since_last_ns - LIVE_NS))
        if settled is not None:
            yield from self._see(settled, now_unix_ns, policy)

    def _tick(self, now_unix_ns: int, pause_ns: int) -> Iterator[RuleEvent]:
        for state in self.states.values():
            if not isinstance(state.evaluator, ClockEvaluator):
                state.evaluator.pause(state.lanes, pause_ns)
                yield from self._events(state, state.evaluator.tick(state.lanes, now_unix_ns))

    def _see(
        self, settled: Settled, now_unix_ns: int, policy: config_pb2.WindowPolicy
    ) -> Iterator[RuleEvent]:
        runs = self.newest.see(settled)
        clocks = clock_runs(settled) if any(state.of_sensors for state in self.states.values()) else None
        for state in self.states.values():
            given = clocks if state.of_sensors else runs
            if given is None:
                continue
            lane = state.lanes.of(given.place, partial(self._takes, state))
            ours = lane >= 0
            if ours.any():
                turns = _turns(state, lane[ours], given.chosen(ours), now_unix_ns, policy)
                yield from self._events(state, turns)

    def rules(self) -> config_pb2.RuleSet:
        """Return the rules in force, by id."""
        return config_pb2.RuleSet(rules=[state.rule for state in self.states.values()])

    def _move_sensors(self, now_unix_ns: int) -> Iterator[RuleEvent]:
        """End what is open of sensors whose site has changed to one that a rule is not about."""
        if self._names.moves == self._moves:
            return
        self._moves = self._names.moves
        for state in self.states.values():
            lanes = state.lanes
            if not state.selection.by_site:
                continue
            taken: Bools = np.array(
                [self._takes(state, int(place)) for place in lanes.place[: lanes.count]], bool
            )
            yield from self._end(state, ~taken, now_unix_ns, MOVED)
            lanes.keep(taken)

    def _takes(self, state: RuleState, place: int) -> bool:
        subject = self._subject(state, place)
        metric = None if state.of_sensors else subject.metric
        return state.selection.takes(subject.sensor, subject.site, metric)

    def _subject(self, state: RuleState, place: int) -> Subject:
        names = self._names
        if state.of_sensors:
            return Subject(names.sensors[place], names.sites[place])
        sensor = int(names.series_sensor[place])
        metric, unit = names.quantities[int(names.series_quantity[place])]
        return Subject(names.sensors[sensor], names.sites[sensor], metric, unit)

    def _events(self, state: RuleState, turns: list[Turn]) -> Iterator[RuleEvent]:
        for turn in turns:
            yield RuleEvent(state.rule, self._subject(state, turn.place), turn)

    def _end(self, state: RuleState, which: Bools, now_unix_ns: int, reason: str) -> list[RuleEvent]:
        """Return the ends of the events that are open in a mask of lanes, by place."""
        lanes = state.lanes
        opened = np.flatnonzero(which & (lanes.phase[: lanes.count] == OPEN))
        turns = sorted(_ended(lanes, lane, now_unix_ns, reason) for lane in opened.tolist())
        return list(self._events(state, turns))


def _turns(
    state: RuleState, lane: Ints, runs: Runs, now_unix_ns: int, policy: config_pb2.WindowPolicy
) -> list[Turn]:
    if isinstance(state.evaluator, ClockEvaluator):
        return state.evaluator.see(state.lanes, lane, runs, now_unix_ns, policy)
    return state.evaluator.see(state.lanes, lane, runs, now_unix_ns)


def _ended(lanes: Lanes, lane: int, now_unix_ns: int, reason: str) -> Turn:
    since = int(lanes.since[lane]), int(lanes.since_epoch[lane]), int(lanes.since_seq[lane])
    return Turn(int(lanes.place[lane]), False, now_unix_ns, None, *since, reason)
