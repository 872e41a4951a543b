"""One run over a data path: warm up, measure, let everything arrive, read the journal back."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench.support.journal import (
    Arrivals,
    account,
    arrivals,
    journal_ms,
    read_readings,
    read_windows,
    window_ms,
)
from bench.support.path import SHARDS, DataPath, Used, data_path, say, sensor_id, shares
from wire.names import readings_stream, readings_subject, windows_stream, windows_subject
from wire.status import ShardAudit

DRAIN_S: Final = 60.0
_FATES: Final = ("received", "aggregated", "duplicate", "quarantined", "too_late", "excluded", "gaps")


@dataclass(frozen=True, slots=True)
class Plan:
    """What the agents do.

    Attributes:
        sensors: How many.
        rate: Readings a second, of all together.
        per_frame: Readings in a frame.
        seconds: How long is measured.
        warm_s: What goes before, unmeasured.
    """

    sensors: int
    rate: float
    per_frame: int
    seconds: float
    warm_s: float


async def measure(plan: Plan) -> dict[str, Any]:
    """Run `plan` and return what came out."""
    with tempfile.TemporaryDirectory(prefix="gaugeway-bench-") as folder:
        async with data_path(Path(folder), plan.sensors) as path:
            say(f"processes: {path.pids}")
            opening_s = await path.opened()
            say(f"{plan.sensors} streams are open after {opening_s:.1f} s")
            return {"opening_s": round(opening_s, 1), **await _measure(path, plan)}


async def _measure(path: DataPath, plan: Plan) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        readings, windows = [
            [
                await stack.enter_async_context(arrivals(path.nats, stream(shard), subject(shard)))
                for shard in range(SHARDS)
            ]
            for stream, subject in (
                (readings_stream, readings_subject),
                (windows_stream, windows_subject),
            )
        ]
        opened = (await path.load.tell("opened", None))["opened"]
        produced = {"per_frame": plan.per_frame, "frames_per_s": plan.rate / plan.per_frame}
        await path.load.tell("produce", produced)
        await asyncio.sleep(plan.warm_s)
        begin = path.used()
        await asyncio.sleep(plan.seconds)
        end, load_1m = path.used(), os.getloadavg()[0]
        rss = path.rss_mb()
        sent = await path.load.tell("rest", None)
        say(f"measured; load {load_1m:.1f}, MB {rss}")
        audits = await _arrived(path, sum(sent["sent"]))
        reopened = (await path.load.tell("opened", None))["opened"] - opened
    numbers = {sensor_id(number): number for number in range(plan.sensors)}
    found = await _journal(path, plan, numbers, noted=(readings, windows), between=(begin, end), sent=sent)
    return {
        **found,
        "load_1m": round(load_1m, 2),
        "rss_mb": rss,
        "rss_mb_total": round(sum(rss.values()), 1),
        "streams_opened_again": reopened,
        "audit": _total(audits),
    }


async def _arrived(path: DataPath, sent: int) -> list[ShardAudit]:
    """Wait until everything that was sent is accounted for, DRAIN_S at most; return the audit."""
    began = time.monotonic()
    while True:
        audits = await path.audits()
        if _total(audits)["received"] >= sent or time.monotonic() - began > DRAIN_S:
            return audits
        await asyncio.sleep(1)


def _total(audits: Sequence[ShardAudit]) -> dict[str, int]:
    return {
        fate: sum(getattr(sensor, fate) for audit in audits for sensor in audit.sensors) for fate in _FATES
    }


async def _journal(
    path: DataPath,
    plan: Plan,
    numbers: dict[str, int],
    *,
    noted: tuple[list[Arrivals], list[Arrivals]],
    between: tuple[Used, Used],
    sent: dict[str, list[int]],
) -> dict[str, Any]:
    """Read the journal back; return rates, latencies and what is lost or there twice."""
    js = path.nats.jetstream()
    rows = await read_readings(js, SHARDS, numbers, noted[0])
    ends = await read_windows(js, SHARDS, numbers, noted[1])
    begin, end = between
    span = begin.at_unix_ns, end.at_unix_ns
    took_s = end.at_s - begin.at_s
    arrived = int(((rows.arrived_ns >= span[0]) & (rows.arrived_ns < span[1])).sum())
    cpu_s = shares(begin, end, list(path.pids))
    accounted = account(rows, np.array(sent["epoch"]), np.array(sent["sent"]))
    return {
        "readings_per_s": round(arrived / took_s),
        "readings_per_cpu_second": round(arrived / sum(cpu_s.values())),
        "frames_per_s": round(arrived / plan.per_frame / took_s),
        "cores": round(sum(cpu_s.values()) / took_s, 3),
        "cpu_s": cpu_s,
        "us_per_frame": {
            name: round(spent * 1e6 * plan.per_frame / max(1, arrived), 1) for name, spent in cpu_s.items()
        },
        **_percentiles("journal", journal_ms(rows, plan.per_frame, span)),
        **_percentiles("window", window_ms(rows, ends, plan.per_frame, span)),
        **asdict(accounted),
        "readings": int(sum(sent["sent"])),
        "readings_records": sum(len(each.at_ns) for each in noted[0]),
        "windows": ends.total,
    }


def _percentiles(name: str, ms: npt.NDArray[np.float64]) -> dict[str, float | None]:
    return {
        f"{name}_p{share}_ms": round(float(np.percentile(ms, share)), 1) if len(ms) else None
        for share in (50, 99)
    }
