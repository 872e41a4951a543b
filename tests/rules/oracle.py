"""Rules, again, as simply as they can be said: one reading after the other, whole histories kept.

Shares nothing with ext_proc.rules. What is aggregated is known from the windows' own oracle.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field
from typing import Any

from tests.windows.oracle import MS, SLOT, Oracle, Reading
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.gen.gaugeway.journal.v1 import journal_pb2

LARGEST = 1.7976931348623157e308

Key = tuple[str, str, str]
"""(sensor, metric, unit); of a sensor as a whole: (sensor, "", "")."""
Said = tuple[str, int, Key, str, int, int, int, float | None, str]
"""(rule, revision, key, begin or end, epoch and seq it begins with, time, value, reason)."""


class Tracked(Oracle):
    """The windows' oracle, which also tells what was new and what was aggregated."""

    def __init__(self) -> None:
        super().__init__()
        self.fresh: list[Reading] = []
        self.aggregated: list[Reading] = []

    def _count(self, rows: list[Reading], notes: Any) -> list[Reading]:
        self.fresh = super()._count(rows, notes)
        return self.fresh

    def _advance(self, aggregated: list[Reading]) -> None:
        self.aggregated = aggregated
        super()._advance(aggregated)


@dataclass
class Memory:
    """What a rule knows of one key."""

    readings: list[Reading] = field(default_factory=list)  # those that it saw
    logged: int = 0  # log time of the newest
    heard: int = 0  # the same, less what does not count
    pending: tuple[int, Reading] | None = None  # since, and with which reading
    open: tuple[int, Reading] | None = None
    anchor: Reading | None = None


class RuleOracle:
    """Folds records one at a time."""

    def __init__(self) -> None:
        self.windows = Tracked()
        self.rules: dict[str, config_pb2.Rule] = {}
        self.memory: dict[str, dict[Key, Memory]] = {}
        self.newest: dict[Key, int] = {}
        self.said: list[Said] = []

    def apply(self, record: journal_pb2.ReadingsRecord) -> list[Said]:
        """Return what the record begins and ends, in no particular order."""
        self.said = []
        enters_slot = record.now_unix_ns // SLOT > self.windows.now // SLOT
        pause = record.now_unix_ns - self.windows.now - 5_000 * MS
        if record.HasField("rules"):
            self._change({rule.id: rule for rule in record.rules.rules}, record.now_unix_ns)
        self.windows.fresh, self.windows.aggregated = [], []
        self.windows.apply(record)
        if record.rows:
            self._move()
        seen = self._seen() if self.rules else []
        for rule in self.rules.values():
            if rule.HasField("missing") and enters_slot:
                self._missing(rule, max(0, pause))
        for rule in self.rules.values():
            if rule.HasField("clock_skew"):
                for reading in self.windows.fresh:
                    self._clock(rule, reading)
            else:
                for reading in seen:
                    self._see(rule, reading)
        return self.said

    def _change(self, wanted: dict[str, config_pb2.Rule], now: int) -> None:
        for name, rule in self.rules.items():
            if wanted.get(name) != rule:
                for key, memory in self.memory.pop(name).items():
                    if memory.open:
                        reason = "rule_changed" if name in wanted else "rule_removed"
                        self._end(rule, key, memory, (now, None), reason)
        self.rules = wanted
        for name in wanted:
            self.memory.setdefault(name, {})
        if not wanted:
            self.newest = {}

    def _move(self) -> None:
        for name, rule in self.rules.items():
            for key, memory in list(self.memory[name].items()):
                if not self._takes(rule, key):
                    if memory.open:
                        self._end(rule, key, memory, (self.windows.now, None), "sensor_moved")
                    del self.memory[name][key]

    def _seen(self) -> list[Reading]:
        seen = []
        for reading in self.windows.aggregated:
            key = (reading.sensor, reading.metric, reading.unit)
            if reading.time >= self.newest.get(key, reading.time):
                self.newest[key] = reading.time
                seen.append(reading)
        return seen

    def _takes(self, rule: config_pb2.Rule, key: Key) -> bool:
        chosen = rule.selection
        words = ((key[0], chosen.sensors), (self.windows.sensors[key[0]].site, chosen.sites))
        words += () if rule.HasField("clock_skew") else ((key[1], chosen.metrics),)  # type: ignore[assignment]
        return all(
            not patterns or any(fnmatch.fnmatchcase(word, each) for each in patterns)
            for word, patterns in words
        )

    def _see(self, rule: config_pb2.Rule, reading: Reading) -> None:
        key = (reading.sensor, reading.metric, reading.unit)
        if not self._takes(rule, key):
            return
        memory = self.memory[rule.id].setdefault(key, Memory())
        memory.readings.append(reading)
        kind = rule.WhichOneof("condition")
        if kind == "threshold":
            limit, sign = rule.threshold, 1 if rule.threshold.side == config_pb2.Threshold.ABOVE else -1
            over, back = (reading.value - limit.level) * sign > 0, (reading.value - limit.clear) * sign <= 0
            self._turn(
                rule,
                key,
                reading,
                time=reading.time,
                value=reading.value,
                over=over,
                back=back,
                for_ms=limit.for_ms,
            )
        elif kind == "rate":
            self._rate(rule, key, memory, reading)
        elif kind == "flatline":
            self._flat(rule, key, memory, reading)
        elif kind == "missing":
            if memory.open:
                self._end(rule, key, memory, (self.windows.now, None), "cleared")
            memory.logged = memory.heard = self.windows.now

    def _rate(self, rule: config_pb2.Rule, key: Key, memory: Memory, reading: Reading) -> None:
        span = rule.rate.span_ms * MS
        firsts: dict[int, Reading] = {}
        for each in memory.readings:
            firsts.setdefault(each.time // span, each)
        if firsts[reading.time // span] is not reading or len(firsts) < 2:
            return
        before = list(firsts.values())[-2]
        if 2 * (reading.time - before.time) < span:
            return
        change = min(LARGEST, max(-LARGEST, reading.value - before.value))
        rate = min(LARGEST, max(-LARGEST, change / ((reading.time - before.time) / 1e9)))
        size = {1: rate, 2: -rate, 3: abs(rate)}[rule.rate.direction]
        over, back = size > rule.rate.per_s, size <= rule.rate.clear
        self._turn(rule, key, reading, time=reading.time, value=rate, over=over, back=back, for_ms=0)

    def _flat(self, rule: config_pb2.Rule, key: Key, memory: Memory, reading: Reading) -> None:
        anchor = memory.anchor
        if anchor is None or abs(reading.value - anchor.value) > rule.flatline.epsilon:
            if memory.open:
                self._end(rule, key, memory, (reading.time, reading.value), "cleared")
            memory.anchor = reading
        elif not memory.open and reading.time - anchor.time >= rule.flatline.for_ms * MS:
            memory.open = (anchor.time, anchor)
            self._say(rule, key, memory, (reading.time, reading.value))

    def _missing(self, rule: config_pb2.Rule, pause: int) -> None:
        wait = rule.missing.for_ms * MS
        for key, memory in self.memory[rule.id].items():
            memory.heard += pause
            if not memory.open and self.windows.now - memory.heard >= wait:
                memory.open = (memory.logged, memory.readings[-1])
                self._say(rule, key, memory, (memory.heard + wait, None))

    def _clock(self, rule: config_pb2.Rule, reading: Reading) -> None:
        key, now = (reading.sensor, "", ""), self.windows.now
        if not self._takes(rule, key):
            return
        self.memory[rule.id].setdefault(key, Memory())
        behind, skew = rule.clock_skew.behind_ms * MS, reading.time - now
        over = reading.verdict in {2, 3} or (behind > 0 and skew < -behind)
        policy = self.windows.policy
        ahead = policy.max_future_skew_ms * MS // 2 if policy else 0
        back = not over and skew <= ahead and (behind == 0 or skew >= -(behind // 2))
        for_ms = rule.clock_skew.for_ms
        self._turn(rule, key, reading, time=now, value=skew / 1e9, over=over, back=back, for_ms=for_ms)

    def _turn(
        self,
        rule: config_pb2.Rule,
        key: Key,
        reading: Reading,
        *,
        time: int,
        value: float,
        over: bool,
        back: bool,
        for_ms: int,
    ) -> None:
        memory = self.memory[rule.id][key]
        if memory.open:
            if back:
                self._end(rule, key, memory, (time, value), "cleared")
        elif not over:
            memory.pending = None
        else:
            memory.pending = memory.pending or (time, reading)
            if time - memory.pending[0] >= for_ms * MS:
                memory.open, memory.pending = memory.pending, None
                self._say(rule, key, memory, (time, value))

    def _end(
        self, rule: config_pb2.Rule, key: Key, memory: Memory, at: tuple[int, float | None], reason: str
    ) -> None:
        self._say(rule, key, memory, at, reason)
        memory.open = None

    def _say(
        self, rule: config_pb2.Rule, key: Key, memory: Memory, at: tuple[int, float | None], reason: str = ""
    ) -> None:
        assert memory.open is not None
        first, what = memory.open[1], "end" if reason else "begin"
        self.said.append((rule.id, rule.revision, key, what, first.epoch, first.seq, *at, reason))
