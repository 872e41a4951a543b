"""What it costs to hold a fleet: one frame a second from every sensor.

    python -m bench.fleet [--sensors N] [--per-frame K] [--seconds S] [--json]

The same path and the same figures as bench.datapath. `cores`: CPU seconds of
Envoy, worker and NATS together a second; `rss_mb_total`: their memory at the
end of the measured time. A frame has four readings: each of four metrics once
a second. `opening_s`: from the assignment until all streams are open.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from typing import Final

from bench.support.run import Plan, measure

GOALS: Final = {
    "cores": 1.0,
    "rss_mb_total": 1500,
    "journal_p99_ms": 250,
    "lost": 0,
    "duplicate": 0,
    "unknown": 0,
    "streams_opened_again": 0,
}


def main() -> None:
    """Run all and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sensors", type=int, default=10_000)
    parser.add_argument("--per-frame", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--json", action="store_true", help="for those who ask: the output is always JSON")
    options = parser.parse_args()
    if min(options.sensors, options.per_frame, options.seconds) <= 0:
        parser.error("every number must be above 0")
    rate = float(options.sensors * options.per_frame)
    plan = Plan(options.sensors, rate, options.per_frame, options.seconds, warm_s=5.0)
    document = asyncio.run(measure(plan))
    sizes = {name: getattr(options, name) for name in ("sensors", "per_frame", "seconds")}
    missed = [name for name, goal in GOALS.items() if document[name] is None or document[name] > goal]
    result = {"bench": "fleet", **sizes, "machine_cores": os.cpu_count(), **document}
    print(json.dumps({**result, "goals": GOALS, "missed": missed}))


if __name__ == "__main__":
    main()
