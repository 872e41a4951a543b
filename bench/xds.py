"""What a change costs between the control plane and a real Envoy, and what the fleet costs both.

    python -m bench.xds [--sensors N] [--hosts N] [--changes N] [--clients N] [--json]

The control plane is a process of its own: real records, engine (planner,
publisher), snapshot cache and ADS server; a real Envoy follows it over Delta
ADS, and a client in place of its worker. NATS, the database, the API and
hypervisors are left out: records come through a pipe, a VM runs at once.

`cold_start_s`: from the start of the process, with the fleet waiting in its
stdin, until Envoy is ready, listens and has every endpoint; Envoy starts once
the ADS server serves. `ack_*`: from a sensor being asked for until Envoy's ACK
has come, one sensor after the other, each on the next host; `live_*`: until the
worker has acknowledged it, too, which it is told of only then.
`cpu_ms_per_change`: all CPU time of the process meanwhile; `step_cpu_ms`: what
of it went into planning, building and publishing, in `steps_per_change` steps;
the rest is gRPC and the sessions of both nodes.
`bytes_per_change`: what Envoy received from the ADS server, HTTP/2 included.
`fanout_*`: from a change until each of the clients, all in this process and
subscribed like Envoy with a connection each, has read its response; Envoy
takes part. `control_plane_rss_mb` is after the changes, before the clients
come. All of them share the machine's cores; `load_1m` is the load that they
met: absolute times count on a quiet machine only. Progress goes to stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from bench.support.control_plane import NODE, Stored
from bench.support.envoys import (
    WORKER_LIKE,
    client,
    envoy,
    envoy_like,
    live,
    received,
)
from bench.support.path import Told, told
from control_plane.model import SensorSpec
from control_plane.store.records import SensorRecord
from envoy_bootstrap.admin import AdminClient
from hyperv.model import Endpoint, MachineSource, MetricSpec
from wire.names import ENVOY_ROLE, WORKER_ROLE, host_cluster

GOALS: Final = {
    "cold_start_s": 5,
    "ack_p99_ms": 150,
    "bytes_per_change": 65_536,
    "cpu_ms_per_change": 10,
    "control_plane_rss_mb": 400,
    "envoy_rss_mb": 250,
    "fanout_p99_ms": 500,
}
FANOUT_CHANGES: Final = 20
_MAX_LINE: Final = 64 << 20


def say(text: str) -> None:
    """Tell whoever waits."""
    print(text, file=sys.stderr, flush=True)


def fleet(numbers: range, hosts: int) -> Stored:
    """Return sensors as they are written down, dealt out to the hosts in turn."""
    stored: Stored = {}
    for number in numbers:
        host, place = number % hosts, number // hosts
        spec = SensorSpec(
            id=f"sensor-{number:06d}",
            host=host_name(host),
            site="hall",
            metrics=(MetricSpec(name="cpu_load", unit="%"),),
            source=MachineSource(),
        )
        endpoint = Endpoint(address=f"10.{host % 256}.{place // 250}.{place % 250 + 1}", port=7000)
        record = SensorRecord(spec=spec, created_unix_ns=time.time_ns())
        stored[spec.id] = record.model_dump_json(), endpoint.model_dump_json()
    return stored


def host_name(number: int) -> str:
    """Return the id of a host."""
    return f"host-{number:04d}"


async def measure_changes(plane: Told, admin: AdminClient, added: Stored) -> dict[str, Any]:
    """Add sensors one after the other, with Envoy alone."""
    before = await received(admin)
    answer = await plane.tell(["changed", added])
    return {
        **_latency("ack", np.array(answer["ack_ms"])),
        **_latency("live", np.array(answer["live_ms"])),
        "bytes_per_change": round((await received(admin) - before) / len(added)),
        "cpu_ms_per_change": round(answer["cpu_s"] * 1e3 / len(added), 2),
        "step_cpu_ms": round(answer["step_cpu_s"] * 1e3 / len(added), 2),
        "steps_per_change": round(answer["steps"] / len(added), 1),
    }


async def measure_fanout(
    plane: Told, port: int, options: argparse.Namespace, added: Stored
) -> dict[str, Any]:
    """Add sensors one after the other, with clients beside Envoy."""
    asked = envoy_like([host_cluster(host_name(host)) for host in range(options.hosts)])
    async with AsyncExitStack() as stack:
        read_s = [
            await stack.enter_async_context(client(ENVOY_ROLE, f"client-{number}", port, asked))
            for number in range(options.clients)
        ]
        await plane.tell(["connected", 2 + options.clients])
        say(f"{options.clients} clients have everything")
        rss_mb = _rss_mb(plane.process.pid)
        answer = await plane.tell(["changed", added])
    took = np.array([times[-len(added) :] for times in read_s]) - np.array(answer["began_s"])
    return {
        **_latency("fanout", took.ravel() * 1e3),
        "fanout_cpu_ms_per_change": round(answer["cpu_s"] * 1e3 / len(added), 2),
        "control_plane_rss_with_clients_mb": rss_mb,
    }


def _latency(name: str, ms: np.ndarray[Any, Any]) -> dict[str, float]:
    return {f"{name}_p{share}_ms": round(float(np.percentile(ms, share)), 2) for share in (50, 99)}


def _rss_mb(pid: int) -> float:
    return round(psutil.Process(pid).memory_info().rss / 1e6, 1)


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run all."""
    stored = fleet(range(options.sensors), options.hosts)
    added = fleet(range(options.sensors, options.sensors + options.changes), options.hosts)
    last = options.sensors + options.changes
    more = fleet(range(last, last + FANOUT_CHANGES), options.hosts)
    began = time.monotonic()
    async with told("bench.support.control_plane") as plane:
        port = await plane.tell(stored)
        serving_s = time.monotonic() - began
        async with envoy(folder, NODE, port) as (envoy_pid, admin), AsyncExitStack() as stack:
            cold_s = await live(admin, options.sensors) - began
            say(f"serving after {serving_s:.2f} s, live {cold_s:.2f} s")
            await stack.enter_async_context(client(WORKER_ROLE, NODE, port, WORKER_LIKE))
            await plane.tell(["connected", 2])
            document = {
                "cold_start_s": round(cold_s, 3),
                "cold_start_serving_s": round(serving_s, 3),
                **await measure_changes(plane, admin, added),
                "control_plane_rss_mb": _rss_mb(plane.process.pid),
                "envoy_rss_mb": _rss_mb(envoy_pid),
            }
            say(f"{options.changes} changes: {document['ack_p50_ms']} ms to the ACK (median)")
            return document | await measure_fanout(plane, port, options, more)


def main() -> None:
    """Run all and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in (("sensors", 10_000), ("hosts", 100), ("changes", 100), ("clients", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", action="store_true", help="for those who ask: the output is always JSON")
    options = parser.parse_args()
    if min(options.sensors, options.hosts, options.changes, options.clients) < 1:
        parser.error("every number must be at least 1")
    machine = {"cores": os.cpu_count(), "load_1m": round(os.getloadavg()[0], 2)}
    with tempfile.TemporaryDirectory(prefix="gaugeway-bench-") as folder:
        document = asyncio.run(measure(options, Path(folder)))
    sizes = {name: getattr(options, name) for name in ("sensors", "hosts", "changes", "clients")}
    missed = [name for name, goal in GOALS.items() if document[name] > goal]
    result = {"bench": "xds", **sizes, **machine, **document, "goals": GOALS, "missed": missed}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
