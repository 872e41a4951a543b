"""Random rules, and logs in which they have something to find."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.windows.logs import S, changed, opened, policy, tick
from tests.windows.strategies import with_rows
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.gen.gaugeway.journal.v1 import journal_pb2

LEVELS = st.sampled_from([-3.0, 0.0, 1.0, 2.5, 4.0])
HOLDS = st.sampled_from([0, 0, 1, 500, 2_000])
VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 1.0, 1.05, 1.3, 2.0, 3.0, 5.0, -4.0, 1.7976931348623157e308]),
    st.floats(-5, 5),
    st.floats(allow_nan=False, allow_infinity=False),
)


@st.composite
def conditions(draw: st.DrawFn, rule: config_pb2.Rule) -> None:
    """Give a rule a condition of any kind."""
    kind = draw(st.sampled_from(["threshold", "rate", "flatline", "missing", "clock_skew"]))
    low, high = sorted((draw(LEVELS), draw(LEVELS)))
    if kind == "threshold":
        above = draw(st.booleans())
        rule.threshold.side = config_pb2.Threshold.ABOVE if above else config_pb2.Threshold.BELOW
        rule.threshold.level, rule.threshold.clear = (high, low) if above else (low, high)
        rule.threshold.for_ms = draw(HOLDS)
    elif kind == "rate":
        rule.rate.direction = draw(st.sampled_from([1, 2, 3]))  # type: ignore[assignment]
        rule.rate.per_s = draw(st.sampled_from([0.1, 1.0, 3.0]))
        rule.rate.clear = draw(st.sampled_from([0.1, 0.0, -1.0]))
        rule.rate.span_ms = draw(st.sampled_from([1, 300, 1_000, 5_000]))
    elif kind == "flatline":
        rule.flatline.epsilon = draw(st.sampled_from([0.0, 0.1, 0.5, 1e308]))
        rule.flatline.for_ms = draw(st.sampled_from([1, 500, 1_000, 3_000]))
    elif kind == "missing":
        rule.missing.for_ms = draw(st.sampled_from([1, 500, 6_000]))
    else:
        rule.clock_skew.behind_ms = draw(st.sampled_from([0, 1_000, 30_000]))
        rule.clock_skew.for_ms = draw(HOLDS)


@st.composite
def rule_sets(draw: st.DrawFn) -> config_pb2.RuleSet:
    """Draw up to three rules."""
    rules = config_pb2.RuleSet()
    for name in sorted(draw(st.sets(st.sampled_from(["hot", "still", "fast"])))):
        rule = rules.rules.add(id=name, revision=draw(st.integers(1, 2)))
        draw(conditions(rule))
        rule.selection.sensors.extend(draw(st.sampled_from([[], [], ["a"], ["?"], ["b*", "c"]])))
        rule.selection.sites.extend(draw(st.sampled_from([[], [], ["hall"], ["*ar*"]])))
        if not rule.HasField("clock_skew"):
            rule.selection.metrics.extend(draw(st.sampled_from([[], ["temp*"], ["pressure"]])))
    return rules


Row = dict[str, object]


@st.composite
def rows(
    draw: st.DrawFn, seqs: dict[tuple[str, int], int], clocks: dict[str, int], *, moves: bool
) -> list[Row]:
    """Draw rows that go on from `seqs` and `clocks`: mostly in order, sometimes late, doubled or refused."""
    found: list[Row] = []
    for _ in range(draw(st.integers(1, 3))):
        sensor, epoch = draw(st.sampled_from("aabc")), draw(st.sampled_from([7, 7, 7, 2**63 + 9]))
        for _ in range(draw(st.integers(1, 8))):
            step = draw(st.sampled_from([1, 1, 1, 1, 1, 1, 2, 0]))
            seqs[sensor, epoch] = max(1, seqs.get((sensor, epoch), 0) + step)
            clocks[sensor] = clocks.get(sensor, 0) + draw(
                st.sampled_from([0, S // 10, S // 2, S, S, 2 * S, -S])
            )
            warm = draw(st.booleans())
            found.append(
                {
                    "sensor": sensor,
                    "site": draw(st.sampled_from(["hall", "hall", "hall", "hall", "yard"]))
                    if moves
                    else "hall",
                    "epoch": epoch,
                    "seq": seqs[sensor, epoch],
                    "metric": "temperature" if warm else "pressure",
                    "unit": "Cel" if warm else "kPa",
                    "time": clocks[sensor],
                    "value": draw(VALUES),
                    "quality": draw(st.sampled_from([0] * 11 + [1])),
                    "verdict": draw(st.sampled_from([0] * 9 + [2, 3])),
                }
            )
    return found


@st.composite
def logs(draw: st.DrawFn, *, moves: bool = True) -> list[journal_pb2.ReadingsRecord]:
    """Draw a log of shard 0 whose rules change now and then, OPEN first; `moves`: sensors change sites."""
    log = [opened(0, policy(horizon_ms=draw(st.sampled_from([0, 3_000, 10**9]))))]
    log[0].policy.max_future_skew_ms = 1_000
    if draw(st.booleans()):
        log[0].rules.CopyFrom(draw(rule_sets()))
    seqs: dict[tuple[str, int], int] = {}
    clocks: dict[str, int] = {}
    for _ in range(draw(st.integers(1, 12))):
        now = log[-1].now_unix_ns + draw(st.sampled_from([0, S // 25, S // 4, S, 3 * S, 20 * S]))
        record = tick(now)
        what = draw(st.integers(0, 9))
        if what == 0:
            record = changed(now, policy()) if draw(st.booleans()) else opened(now, policy())
        elif what <= 2:
            record.kind = journal_pb2.ReadingsRecord.RULES
            record.rules.CopyFrom(draw(rule_sets()))
        elif what <= 8:
            record = with_rows(record, draw(rows(seqs, clocks, moves=moves)))
        log.append(record)
    return log
