"""What rules cost: the fold of the same records with and without them, side by side in one run.

    python -m bench.rules [--readings N] [--series N] [--records N]

Records are those of bench.fold: noise around a mean, four metrics a sensor.
Each kind is measured by itself over all series, and `three` are a threshold, a
rate and a flat line together. They find nothing, but for `busy`, which turns
often: their cost is that of making events. The folds take turns record by
record, so that what else the machine does falls on all of them alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from bench.fold import Fleet, opened_fold
from ext_proc.windows.fold import Fold
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import SCHEMA_VERSION


def _rule(name: str, **condition: Any) -> config_pb2.Rule:
    return config_pb2.Rule(id=name, revision=1, **condition)


def _threshold(level: float, clear: float, for_ms: int = 0) -> config_pb2.Rule:
    above = config_pb2.Threshold(side=config_pb2.Threshold.ABOVE, level=level, clear=clear, for_ms=for_ms)
    return _rule("threshold", threshold=above)


def _rate(per_s: float, span_ms: int) -> config_pb2.Rule:
    either = config_pb2.Rate(direction=config_pb2.Rate.EITHER, per_s=per_s, clear=per_s / 2, span_ms=span_ms)
    return _rule("rate", rate=either)


def _flatline(epsilon: float) -> config_pb2.Rule:
    return _rule("flatline", flatline=config_pb2.Flatline(epsilon=epsilon, for_ms=60_000))


_THRESHOLD, _RATE, _FLATLINE = _threshold(100.0, 90.0), _rate(50.0, 1_000), _flatline(0.01)
_CASES: Mapping[str, Sequence[config_pb2.Rule]] = {
    "off": [],
    "threshold": [_THRESHOLD],
    "rate": [_RATE],
    "flatline": [_FLATLINE],
    "flatline_wide": [_flatline(0.5)],  # as wide as the noise: anchors move in small steps
    "missing": [_rule("missing", missing=config_pb2.Missing(for_ms=30_000))],
    "clock_skew": [_rule("skew", clock_skew=config_pb2.ClockSkew(behind_ms=300_000))],
    "three": [_THRESHOLD, _RATE, _FLATLINE],
    "busy": [_threshold(21.0, 20.0)],  # a quarter of the series: it begins and ends all the time
}


def _folds() -> dict[str, Fold]:
    folds = {name: opened_fold() for name in _CASES}
    for name, rules in _CASES.items():
        if rules:
            record = journal_pb2.ReadingsRecord(
                schema=SCHEMA_VERSION,
                kind=journal_pb2.ReadingsRecord.RULES,
                generation=1,
                rules=config_pb2.RuleSet(rules=rules),
            )
            folds[name].apply(2, record)
    return folds


def compare(readings: int, series: int, records: int, rate_hz: int = 10) -> dict[str, Any]:
    """Fold records of `readings` of all series with each set of rules."""
    fleet, folds = Fleet(series, rate_hz), _folds()
    rounds = max(1, readings // series)
    taken: dict[str, list[float]] = {name: [] for name in folds}
    events = dict.fromkeys(folds, 0)
    count = 0
    for number in range(records):
        seq, record = fleet.record(fleet.all, rounds)
        count = record.count
        for name, fold in folds.items():
            began = time.perf_counter()
            output = fold.apply(seq + 1, record)
            seconds = time.perf_counter() - began
            if number >= records // 4:  # windows of a minute are open by then
                taken[name].append(seconds)
                events[name] += output.events.num_rows
    ns = {name: statistics.median(each) / count * 1e9 for name, each in taken.items()}
    return {
        "readings": count,
        "series": series,
        "ns_per_reading": {name: round(each, 1) for name, each in ns.items()},
        "ratio_to_off": {name: round(each / ns["off"], 3) for name, each in ns.items()},
        "events": events,
        "checkpoint_bytes": {name: folds[name].checkpoint().ByteSize() for name in ("off", "three")},
    }


def main() -> None:
    """Run all and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readings", type=int, nargs="+", default=[50_000, 5_000])
    parser.add_argument("--series", type=int, default=5_000)
    parser.add_argument("--records", type=int, default=80)
    options = parser.parse_args()
    _ = compare(5_000, 500, 20)  # everything loaded and warm
    results = [compare(readings, options.series, options.records) for readings in options.readings]
    print(json.dumps({"bench": "rules", "results": results}))


if __name__ == "__main__":
    main()
