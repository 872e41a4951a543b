"""What a reading costs on its way from an agent into the journal and its windows.

    python -m bench.datapath [--sensors N] [--rate R] [--per-frame K] [--seconds S] [--json]

A real Envoy, a worker process and a NATS server that syncs every append to the
disk, programmed by a real control plane; N agents with four metrics each, in
one process of its own that only fills in sequence numbers and times. `rate` is
readings a second of all sensors together, the same for each. Not counted, and
not part of what is measured: the agents, the control plane, sinks.

`readings_per_s`: readings whose record was on disk within the measured time.
`readings_per_cpu_second`: these over the CPU seconds, user and system, that
Envoy, worker and NATS used in that time; `cpu_s` has each one's share,
`us_per_frame` the same for a frame. `journal_*_ms`: from the flush of a frame
until a consumer of the journal was told of its record, which is after fsync;
`window_*_ms`: from the flush of the frame that closes a window of 10 s or 60 s
until its row was there. `lost`, `duplicate`, `unknown`: every reading sent
against every row of the journal, read back at the end; `audit`: the worker's
counters. `load_1m` is the load that the run met: its own, and others'; times
count on a quiet machine only, CPU seconds nearly always. Progress goes to stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from typing import Any, Final

from bench.support.run import Plan, measure

GOALS: Final = {100: 1_000_000, 10: 150_000}  # readings a CPU second by readings in a frame


def missed(document: dict[str, Any], per_frame: int) -> list[str]:
    """Return the names of what is not as it should be."""
    wrong = [name for name in ("lost", "duplicate", "unknown", "streams_opened_again") if document[name]]
    if document["readings_per_cpu_second"] < GOALS.get(per_frame, 0):
        wrong.append("readings_per_cpu_second")
    return wrong


def main() -> None:
    """Run all and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sensors", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=300_000)
    parser.add_argument("--per-frame", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--json", action="store_true", help="for those who ask: the output is always JSON")
    options = parser.parse_args()
    if min(options.sensors, options.rate, options.per_frame, options.seconds) <= 0:
        parser.error("every number must be above 0")
    plan = Plan(options.sensors, options.rate, options.per_frame, options.seconds, warm_s=5.0)
    document = asyncio.run(measure(plan))
    sizes = {name: getattr(options, name) for name in ("sensors", "rate", "per_frame", "seconds")}
    goals = {"readings_per_cpu_second": GOALS.get(options.per_frame), "lost": 0, "duplicate": 0}
    result = {"bench": "datapath", **sizes, "machine_cores": os.cpu_count(), **document}
    print(json.dumps({**result, "goals": goals, "missed": missed(document, options.per_frame)}))


if __name__ == "__main__":
    main()
