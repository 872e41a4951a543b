"""What each kind of rule means, case by case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ext_proc.rules.rule import RuleError, Selection, check_rule
from ext_proc.windows.fold import Fold
from tests.windows.logs import S, opened, policy, readings, tick
from wire.events import structured
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import JournalFormatError

MS = 1_000_000


def rule(name: str = "r", revision: int = 1, **condition: Any) -> config_pb2.Rule:
    """Return a rule about everything."""
    return config_pb2.Rule(id=name, revision=revision, **condition)


def above(level: float, clear: float, for_ms: int = 0) -> dict[str, Any]:
    """Return the condition of a threshold rule."""
    side = config_pb2.Threshold.ABOVE
    return {"threshold": config_pb2.Threshold(side=side, level=level, clear=clear, for_ms=for_ms)}


class Log:
    """A fold with rules, fed second by second."""

    def __init__(self, *rules: config_pb2.Rule) -> None:
        self.fold = Fold(0)
        record = opened(0, policy(horizon_ms=10**6))
        record.policy.max_future_skew_ms = 10_000
        self.events: list[dict[str, Any]] = []
        self.seq = 0
        self.now = 0
        self.add(record)
        self.rules(*rules)

    def add(self, record: journal_pb2.ReadingsRecord) -> list[dict[str, Any]]:
        """Fold a record; return its events."""
        self.now = record.now_unix_ns
        found = structured(self.fold.apply(self.fold.through + 1, record).events)
        self.events += found
        return found

    def rules(self, *rules: config_pb2.Rule) -> list[dict[str, Any]]:
        """Have other rules be in force."""
        record = tick(self.now)
        record.kind = journal_pb2.ReadingsRecord.RULES
        record.rules.CopyFrom(config_pb2.RuleSet(rules=rules))
        return self.add(record)

    def values(
        self, values: Sequence[float], *, at: float | None = None, step: float = 1.0, verdict: int = 0
    ) -> list[dict[str, Any]]:
        """Fold one record with values of sensor a, one each `step` seconds from `at` (else: from now) on."""
        start = self.now if at is None else int(at * S)
        times = [start + int(step * S) * (number + 1) for number in range(len(values))]
        rows = [("a", 7, self.seq + n + 1, time, value) for n, (time, value) in enumerate(zip(times, values))]  # noqa: B905
        self.seq += len(values)
        return self.add(readings(max(self.now, times[-1] if at is None else self.now), rows, verdict=verdict))

    def pass_seconds(self, count: int) -> list[dict[str, Any]]:
        """Let log time pass, a tick a second."""
        return [event for _ in range(count) for event in self.add(tick(self.now + S))]


def turns(events: list[dict[str, Any]]) -> list[tuple[str, int, float | None]]:
    """Return what begins and ends, with the reading that it begins with, and the value."""
    return [
        (event["type"].rpartition(".")[2], event["data"]["seq"], event["data"]["value"]) for event in events
    ]


def test_nothing_flaps_between_the_two_levels() -> None:
    """Begun above 80, it ends at 75 or below, and not by anything between."""
    log = Log(rule(**above(80, 75)))
    assert turns(log.values([79, 80, 81, 79, 76, 82, 75.5, 90, 75, 79, 80, 74, 81])) == [
        ("begin", 3, 81),
        ("end", 3, 75),
        ("begin", 13, 81),
    ]


def test_a_threshold_below() -> None:
    """The other side."""
    below = config_pb2.Threshold(side=config_pb2.Threshold.BELOW, level=10, clear=12)
    log = Log(rule(threshold=below))
    assert turns(log.values([10, 9, 11, 12, 9])) == [("begin", 2, 9), ("end", 2, 12), ("begin", 5, 9)]


def test_a_condition_must_hold_for_a_time() -> None:
    """By event time, over records, in every reading; it began with the first."""
    log = Log(rule(**above(80, 75, for_ms=3_000)))
    assert turns(log.values([81, 82, 80, 81])) == []
    assert turns(log.values([82, 83])) == []
    [event] = log.values([84])
    assert (event["data"]["seq"], event["data"]["value"]) == (4, 84)
    assert event["data"]["since"] == "1970-01-01T00:00:04.000000000Z"
    assert event["time"] == "1970-01-01T00:00:07.000000000Z"


def test_readings_from_before_what_was_seen_are_passed_over() -> None:
    """Event time goes forward only; what is late stays in the windows."""
    log = Log(rule(**above(80, 75)))
    log.values([70, 70], at=100)
    assert log.values([99, 99], at=90) == []
    assert turns(log.values([81], at=101)) == [("begin", 5, 81)]
    assert log.values([10], at=50) == []
    assert log.fold.audit().sensors[0].aggregated == 6


def test_a_rate_is_taken_over_spans() -> None:
    """A step within one span is none; a rise over spans is, and ends with the first calm one."""
    rise = config_pb2.Rate(direction=config_pb2.Rate.RISE, per_s=2, clear=1, span_ms=10_000)
    log = Log(rule(rate=rise))
    assert log.values([0, 100, -100, 0], step=1) == []
    assert log.values([0], at=9) == [], "t = 10 s, 9 s after 0"
    [event] = log.values([30], at=19)
    assert (event["data"]["seq"], event["data"]["value"]) == (6, 3.0)
    assert log.values([45], at=29) == [], "1.5 a second is neither beyond 2 nor back at 1"
    [ended] = log.values([46], at=39)
    assert (ended["data"]["seq"], ended["data"]["value"]) == (6, pytest.approx(0.1))
    assert log.values([-1000], at=49) == [], "a fall is no rise"


def test_a_slow_drift_is_no_flat_line() -> None:
    """Values are compared with the anchor, not with the one before."""
    log = Log(rule(flatline=config_pb2.Flatline(epsilon=0.5, for_ms=10_000)))
    assert log.values([number * 0.2 for number in range(60)]) == []
    [event] = log.values([12.0] * 12)
    assert (event["type"], event["data"]["seq"]) == ("gaugeway.event.begin", 61)
    assert turns(log.values([12.4, 11.6, 12.6])) == [("end", 61, 12.6)]


def test_a_flat_line_with_many_small_steps_in_one_record() -> None:
    """More anchors in one record than are looked for at once: the last one is found all the same."""
    log = Log(rule(flatline=config_pb2.Flatline(epsilon=1.0, for_ms=30_000)))
    steps = [number * 1.5 for number in range(40)]
    assert log.values(steps) == []
    assert log.values([steps[-1]] * 29) == []
    assert turns(log.values([steps[-1]])) == [("begin", 40, steps[-1])]


def test_missing_data_by_ticks() -> None:
    """Silence by log time begins it with the last reading, the next reading ends it."""
    log = Log(rule(missing=config_pb2.Missing(for_ms=5_000)))
    log.values([1, 2, 3])
    assert log.pass_seconds(4) == []
    [began] = log.pass_seconds(1)
    assert (began["data"]["seq"], began["data"]["since"]) == (3, "1970-01-01T00:00:03.000000000Z")
    assert began["time"] == "1970-01-01T00:00:08.000000000Z"
    assert log.pass_seconds(10) == []
    [ended] = log.values([4])
    assert (ended["data"]["event"], ended["data"]["reason"]) == (began["data"]["event"], "cleared")


def test_a_gateway_that_was_away_misses_nothing() -> None:
    """Log time in which nobody wrote the log does not count, but for what ticks leave anyway."""
    log = Log(rule(missing=config_pb2.Missing(for_ms=8_000)))
    log.values([1])
    assert log.add(opened(log.now + 3600 * S)) == []
    assert log.pass_seconds(2) == []
    assert len(log.pass_seconds(1)) == 1


def test_a_clock_that_is_ahead() -> None:
    """Quarantined readings begin it; it ends within half of what is tolerated, of the sensor as a whole."""
    log = Log(rule(clock_skew=config_pb2.ClockSkew(for_ms=1_000)))
    log.pass_seconds(100)
    assert log.values([1], at=150, verdict=2) == []
    log.pass_seconds(1)
    [began] = log.values([1], at=151, verdict=2)
    assert (began["subject"], began["data"]["metric"], began["data"]["seq"]) == ("a", None, 1)
    assert began["data"]["value"] == pytest.approx(51.0)
    assert log.values([1], at=107) == [], "7 s ahead of 101 s: tolerated, but not back"
    [ended] = log.values([1], at=103)
    assert ended["data"]["event"] == began["data"]["event"]


def test_a_clock_that_is_far_behind() -> None:
    """Event time behind log time, by the rule's own measure."""
    log = Log(rule(clock_skew=config_pb2.ClockSkew(behind_ms=30_000)))
    log.pass_seconds(100)
    assert turns(log.values([1], at=60)) == [("begin", 1, -39.0)]
    assert log.values([1], at=80) == [], "19 s behind: not within half of 30"
    assert turns(log.values([1], at=90)) == [("end", 1, -9.0)]


def test_changed_and_removed_rules_end_what_is_open() -> None:
    """With the reason; a rule that is stated again as it was goes on; a new revision is a new event."""
    log = Log(rule("x", **above(80, 75)), rule("y", **above(80, 75)))
    began = log.values([81])
    assert [event["data"]["rule"] for event in began] == ["x", "y"]
    assert log.rules(rule("x", **above(80, 75)), rule("y", **above(80, 75))) == []
    [ended] = log.rules(rule("x", **above(80, 75)), rule("y", 2, **above(70, 75 - 5)))
    assert (ended["data"]["rule"], ended["data"]["reason"]) == ("y", "rule_changed")
    [anew] = log.values([81])
    assert (anew["data"]["rule"], anew["data"]["revision"]) == ("y", 2)
    ends = log.rules()
    assert [(event["data"]["rule"], event["data"]["reason"]) for event in ends] == [
        ("x", "rule_removed"),
        ("y", "rule_removed"),
    ]
    assert len({event["id"] for event in log.events}) == len(log.events)


def test_ids_do_not_depend_on_where_the_log_is() -> None:
    """Readings that come again in another generation, cut otherwise, begin the event that they began."""
    one, two = Log(rule(**above(80, 75))), Log(rule(**above(80, 75)))
    two.pass_seconds(50)
    first = one.values([70, 81, 82, 70], at=0)
    again = two.values([70, 81], at=0) + two.values([82, 70], at=2)
    assert [event["id"] for event in again] == [event["id"] for event in first]
    assert [event["time"] for event in again] == [event["time"] for event in first]


def test_a_rule_that_means_nothing_is_no_record() -> None:
    """A RULES record that cannot be followed changes nothing."""
    log = Log(rule(**above(80, 75)))
    before = log.fold.checkpoint()
    with pytest.raises(JournalFormatError, match="clear must not be above level"):
        log.rules(rule(**above(80, 90)))
    assert log.fold.checkpoint() == before


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (rule(**above(80, 81)), "threshold.clear"),
        (rule(**above(float("inf"), 1)), "threshold.level"),
        (rule(threshold=config_pb2.Threshold(level=1)), "threshold.side"),
        (rule(**above(1, 0, for_ms=10**12)), "threshold.for_ms"),
        (rule(rate=config_pb2.Rate(direction=config_pb2.Rate.RISE, per_s=-1, span_ms=1)), "rate.per_s"),
        (rule(rate=config_pb2.Rate(direction=config_pb2.Rate.RISE, per_s=1)), "rate.span_ms"),
        (rule(flatline=config_pb2.Flatline(epsilon=-1, for_ms=1)), "flatline.epsilon"),
        (rule(missing=config_pb2.Missing()), "missing.for_ms"),
        (rule(), "condition"),
        (rule(revision=0, missing=config_pb2.Missing(for_ms=1)), "revision"),
        (
            rule(missing=config_pb2.Missing(for_ms=1), selection=config_pb2.Selection(sites=["a b"])),
            "selection.sites",
        ),
        (
            rule(clock_skew=config_pb2.ClockSkew(), selection=config_pb2.Selection(metrics=["x"])),
            "selection.metrics",
        ),
    ],
)
def test_a_rule_is_checked(bad: config_pb2.Rule, field: str) -> None:
    """The field that breaks a rule is named."""
    with pytest.raises(RuleError) as refused:
        check_rule(bad)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("sensors", "sites", "metrics", "taken"),
    [
        ([], [], [], True),
        (["press-*"], [], [], True),
        (["press-?"], [], [], True),
        (["press", "pres*"], ["hall-3"], ["temp*"], True),
        (["press"], [], [], False),
        ([], ["hall"], [], False),
        ([], [], ["pressure", "x*"], False),
    ],
)
def test_a_selection_is_lists_of_patterns(
    sensors: list[str], sites: list[str], metrics: list[str], taken: bool
) -> None:
    """One pattern of each list that is not empty must match the whole name."""
    selection = Selection(config_pb2.Selection(sensors=sensors, sites=sites, metrics=metrics))
    assert selection.takes("press-1", "hall-3", "temperature") is taken
