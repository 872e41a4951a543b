"""The kind `clock_skew`: a sensor whose clock is ahead of the log's, or far behind it."""

from __future__ import annotations

from typing import Final

import numpy as np

from ext_proc.rules.hysteresis import Signal, Turn, follow
from ext_proc.rules.lanes import Lanes
from ext_proc.rules.runs import Runs, runs_of
from ext_proc.windows.accounts import Settled
from ext_proc.windows.arrays import Ints
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.journal import Verdict

_MS: Final = 1_000_000
_S: Final = 1_000_000_000
_MOST_NS: Final = 2**62


class ClockEvaluator:
    """Begins with readings that are quarantined for their time, or are `behind_ms` behind log time.

    All of them must be for `for_ms` of log time: an agent that delivers what it
    kept while it could not send is behind too, until it has caught up. Ends with
    a reading that is at most half of what is tolerated away from log time.
    """

    def __init__(self, skew: config_pb2.ClockSkew) -> None:
        self._behind_ns = skew.behind_ms * _MS or _MOST_NS
        self._hold_ns = skew.for_ms * _MS

    def see(
        self, lanes: Lanes, lane: Ints, runs: Runs, now_unix_ns: int, policy: config_pb2.WindowPolicy
    ) -> list[Turn]:
        """Move lanes over what clock_runs returned; returns what turns."""
        skew = runs.time - now_unix_ns
        over = (runs.value > 0) | (skew < -self._behind_ns)
        ahead_ns = min(policy.max_future_skew_ms * _MS, _MOST_NS) // 2
        back = ~over & (skew <= ahead_ns) & (skew >= -(self._behind_ns // 2))
        now = np.full(len(skew), now_unix_ns)
        logged = Runs(runs.place, runs.starts, now, runs.value, runs.epoch, runs.seq)
        return follow(lanes, Signal(lane, logged, skew / _S, over, back), self._hold_ns)


def clock_runs(settled: Settled) -> Runs | None:
    """Return what is no duplicate, by sensor in the order of the log; `value` is 1 where the time is refused.

    None if everything is a duplicate.
    """
    rows = np.flatnonzero(settled.fresh)
    if not len(rows):
        return None
    rows = rows[np.argsort(settled.sensor[rows], kind="stable")]
    verdict = settled.rows.verdict[rows]
    bad = (verdict == Verdict.FUTURE) | (verdict == Verdict.PAST)
    return runs_of(
        settled.sensor[rows],
        settled.rows.time[rows],
        bad.astype(np.float64),
        settled.rows.epoch[rows].view(np.int64),
        settled.rows.seq[rows],
    )
