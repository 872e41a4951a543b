"""Hands on a running installation: processes killed and paused, while nobody starts them again.

The supervisor and the lab host restart what dies. A test that needs a moment
between a death and the next start stops them meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import nats

from tests.support.processes import alive
from tests.support.stack import ApiError, Stack, wait_for
from wire.names import SETTINGS_BUCKET

PATIENCE_S = 60.0
SIZES_MS = (1_000, 10_000)
"""Windows that a fault is judged by: short, so that the proof is."""

POLICY = {
    "sizes": [{"size_ms": size_ms, "journalled": True} for size_ms in SIZES_MS],
    "horizon_ms": 600_000,
    "idle_close_ms": 5_000,
    "max_future_skew_ms": 10_000,
    "max_past_ms": 86_400_000,
}


def short_windows(stack: Stack) -> None:
    """Have windows of SIZES_MS. The workers know them before they know of any sensor added after this."""

    async def put() -> None:
        client = await nats.connect(stack.info["nats_url"])
        try:
            bucket = await client.jetstream().key_value(SETTINGS_BUCKET)
            await bucket.put("policy", json.dumps(POLICY).encode())
        finally:
            await client.close()

    asyncio.run(put())


def counts(stack: Stack) -> dict[str, dict[str, Any]] | None:
    """Return every sensor's audit counters, None while they cannot be told."""
    try:
        return {row["sensor_id"]: row for row in stack.api("GET", "/v1/audit")["sensors"]}
    except (ApiError, OSError):
        return None


def flows(stack: Stack, sensors: list[str], more: int = 5) -> None:
    """Wait until `more` readings of every sensor came from now on."""
    before = wait_for("the audit answers", partial(counts, stack), PATIENCE_S)

    def came() -> bool:
        now = counts(stack)
        return now is not None and all(
            name in now and now[name]["received"] >= before.get(name, {"received": 0})["received"] + more
            for name in sensors
        )

    wait_for(f"readings of {sensors} flow", came, PATIENCE_S)


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Stop processes (SIGSTOP), and continue them at the end those that are still there."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in alive(pids):
            os.kill(pid, signal.SIGCONT)


def end(pid: int) -> None:
    """SIGKILL a process and wait until it is dead, reaped or not."""
    os.kill(pid, signal.SIGKILL)
    wait_for(f"process {pid} is dead", lambda: not alive([pid]), PATIENCE_S)


def supervisor(stack: Stack) -> int:
    """Return the process that starts the others again."""
    assert stack.process is not None
    return stack.process.pid


def kill(stack: Stack, name: str) -> None:
    """SIGKILL a process of the installation; return when another has its place."""
    before = stack.pids()[name]
    os.kill(before, signal.SIGKILL)
    wait_for(f"another {name}", lambda: stack.pids().get(name, before) != before, PATIENCE_S)


def agent(stack: Stack, sensor_id: str) -> int:
    """Return the process of a sensor's agent, once it runs."""

    def running() -> int | None:
        vm = stack.lab("GET", f"/vms/{sensor_id}")
        pid: int | None = vm["pid"] if vm["state"] == "running" else None
        return pid

    return wait_for(f"the agent of {sensor_id} runs", running, PATIENCE_S)


def spool(stack: Stack, sensor_id: str) -> Path:
    """Return the folder of a sensor's spool."""
    return stack.data_dir / "lab" / "vms" / sensor_id / "spool"


def log_of(stack: Stack, name: str) -> str:
    """Return what a process of the installation logged."""
    return (stack.data_dir / "run" / "logs" / f"{name}.log").read_text()
