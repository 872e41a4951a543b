"""What the pre-flight check costs: `envoy --mode validate` before anything is published.

    python -m bench.preflight [--clusters N ...] [--repeats N] [--json]

The real check with the real Envoy of this installation, on the gateway's
listener, its routes and N clusters of hosts. Medians over the repeats:

`delay_ms`: how long publishing is held up: from asking for verdicts until the
last one is there. `cpu_ms`: CPU time of Envoy's runs; `own_cpu_ms`: of this
process meanwhile. `runs`: how often Envoy was started.

- `cold`: nothing is known, as at the first start and after a change of version.
- `restart`: the same after a restart, everything on disk: `delay_ms` is then
  reading the file and asking Envoy for its version, which happens while other
  parts load; asking for verdicts itself takes `verdicts_us`.
- `change`: one cluster changed, all others known.
- `bad`: as `cold` with one bad cluster, once where Envoy points at it
  (`named`), once where it gives no hint (`unnamed`).

A change of a sensor changes neither clusters nor listeners nor routes: it is
never checked and costs nothing. Left out: publishing itself, and forking from a
process with a large memory. `load_1m` is the load that it met: absolute times
count on a quiet machine only. Progress goes to stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry

from control_plane.reconcile.preflight import Preflight, PreflightMetrics
from control_plane.reconcile.preflight_memory import PASSED
from control_plane.resources.cluster import host_cluster_resource
from control_plane.resources.listener import listener_resource
from control_plane.resources.model import Resource, new_resource
from control_plane.resources.routes import routes_resource
from control_plane.store.passes import load_passes
from envoy_bootstrap.validate import EnvoyValidator, Outcome
from wire.names import CLUSTER_TYPE

# Cluster.connect_timeout (field 4), after what is there: the last value counts.
_OTHER_TIMEOUT: Final = b"\x22\x02\x08\x09"  # 9 s
_NO_TIMEOUT: Final = b"\x22\x02\x08\x00"  # 0: breaks a rule of the field, and Envoy says where
_NEGATIVE_TIMEOUT: Final = b"\x22\x0b\x08" + b"\xff" * 9 + b"\x01"  # -1 s: refused without saying whose it is


class Counting(EnvoyValidator):
    """Counts runs."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0

    async def validate(self, resources: Sequence[Any]) -> Outcome:
        """See EnvoyValidator."""
        self.runs += 1
        return await super().validate(resources)


class Check:
    """One life of the check."""

    def __init__(self, file: Path | None = None) -> None:
        self.validator = Counting()
        self._changed = asyncio.Event()
        metrics = PreflightMetrics(CollectorRegistry())
        self.preflight = Preflight(self.validator, self._changed.set, metrics, file=file)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take up what is on disk and run."""
        await self.preflight.recall()
        self._task = asyncio.create_task(self.preflight.run())

    async def judged(self, wanted: Sequence[Resource]) -> None:
        """Wait until there is a verdict on everything."""
        # A list: each is asked for before anything is waited for, so that all are in one run.
        while "pending" in [self.preflight.verdict(each).state for each in wanted]:
            await self._changed.wait()
            self._changed.clear()

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})


class Clock:
    """Wall, own and children's CPU time since it was made, and an Envoy's runs."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._runs = check.validator.runs
        self._children = _children_s()
        self._own = time.process_time()
        self._began = time.perf_counter()

    def read(self) -> dict[str, float]:
        """Return what passed, in ms, and the runs."""
        return {
            "delay_ms": (time.perf_counter() - self._began) * 1e3,
            "cpu_ms": (_children_s() - self._children) * 1e3,
            "own_cpu_ms": (time.process_time() - self._own) * 1e3,
            "runs": self._check.validator.runs - self._runs,
        }


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def once(clusters: int, folder: Path) -> dict[str, dict[str, float]]:
    """Measure everything for so many clusters."""
    file = folder / "preflight.json"
    file.unlink(missing_ok=True)
    hosts = [host_cluster_resource(f"host-{number:04d}") for number in range(clusters)]
    wanted = [listener_resource(0), routes_resource(), *hosts]
    results: dict[str, dict[str, float]] = {}
    check = Check(file)
    await check.start()
    clock = Clock(check)
    await check.judged(wanted)
    results["cold"] = clock.read()
    clock = Clock(check)
    await check.judged([*wanted[:-1], _changed(hosts[-1], _OTHER_TIMEOUT)])
    results["change"] = clock.read()
    await _written(file, len(wanted))
    await check.stop()
    results["restart"] = await _restarted(file, wanted)
    for name, field in (("named", _NO_TIMEOUT), ("unnamed", _NEGATIVE_TIMEOUT)):
        results[f"bad_{name}"] = await _bad(wanted, _changed(hosts[clusters // 3], field))
    return results


async def _restarted(file: Path, wanted: Sequence[Resource]) -> dict[str, float]:
    check = Check(file)
    clock = Clock(check)
    await check.start()
    result = clock.read()
    began = time.perf_counter()
    verdicts = [check.preflight.verdict(each) for each in wanted]
    result["verdicts_us"] = (time.perf_counter() - began) * 1e6
    assert verdicts == [PASSED] * len(wanted), "what passed was not on disk"
    await check.stop()
    return result


async def _bad(wanted: Sequence[Resource], bad: Resource) -> dict[str, float]:
    check = Check()
    await check.start()
    clock = Clock(check)
    wanted = [bad if each.name == bad.name else each for each in wanted]
    await check.judged(wanted)
    result = clock.read()
    refused = [each.name for each in wanted if check.preflight.verdict(each).state == "refused"]
    assert refused == [bad.name], f"refused: {refused}"
    await check.stop()
    return result


def _changed(cluster: Resource, field: bytes) -> Resource:
    """Return a cluster with one field more."""
    return new_resource(CLUSTER_TYPE, cluster.name, cluster.body + field)


async def _written(file: Path, count: int) -> None:
    """Wait until more than `count` passes are on disk."""
    async with asyncio.timeout(10):
        while len(load_passes(file)[1]) <= count:  # noqa: ASYNC110 - a thread writes it
            await asyncio.sleep(0.01)


async def measure(sizes: Sequence[int], repeats: int) -> dict[str, Any]:
    """Return medians by number of clusters and case."""
    result: dict[str, Any] = {"load_1m": round(os.getloadavg()[0], 2), "repeats": repeats}
    with tempfile.TemporaryDirectory() as folder:
        for clusters in sizes:
            print(f"{clusters} clusters", file=sys.stderr, flush=True)
            runs = [await once(clusters, Path(folder)) for _ in range(repeats)]
            result[str(clusters)] = {
                case: {
                    key: round(statistics.median(run[case][key] for run in runs), 2) for key in runs[0][case]
                }
                for case in runs[0]
            }
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clusters", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="one line")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    result = asyncio.run(measure(arguments.clusters, arguments.repeats))
    print(json.dumps(result, indent=None if arguments.json else 2))


if __name__ == "__main__":
    main()
