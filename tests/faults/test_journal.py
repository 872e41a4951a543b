"""The journal goes away, comes back older than it was, or torn: the spools cover it."""

from __future__ import annotations

import os
import re
import shutil
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.e2e.evidence import Warehouse
from tests.e2e.steps import MACHINE_SPEED, add, machine, prove, replay
from tests.faults.hands import SIZES_MS, end, flows, log_of, stopped, supervisor
from tests.support.stack import Stack, wait_for
from wire.names import EXT_PROC_CLUSTER, readings_stream

pytestmark = pytest.mark.timeout(400)

SENSORS = ["press-1", "press-2", "node-1"]
QUICK = MACHINE_SPEED * 100  # a reading each ms, 20 KB/s: a minute is far above what may be on the way
AWAY_S = 60.0
TRICKLE = 8 << 10  # of slow streams in two seconds, while the quick one would send 40 KB
MOST_GROWTH = 96 << 20


def add_all(stack: Stack) -> None:
    """Add a quick replay, another, and a sensor of this machine; both shards have some."""
    add(
        stack,
        replay("press-1", "machine_temperature", QUICK),
        replay("press-2", "machine_temperature", MACHINE_SPEED),
        machine("node-1"),
    )


def bytes_to_worker(stack: Stack) -> int:
    """Return how much Envoy ever sent to the worker."""
    query = f"/stats?filter=cluster.{EXT_PROC_CLUSTER}.upstream_cx_tx_bytes_total"
    with urllib.request.urlopen(stack.info["envoy_admin_url"] + query, timeout=10) as answer:
        [counter] = re.findall(r"upstream_cx_tx_bytes_total: (\d+)", answer.read().decode())
    return int(counter)


def stands_still(stack: Stack) -> bool:
    """Say whether Envoy can hand the worker nothing of the quick stream any more.

    The others say so little that they do not fill a window for many minutes.
    """
    before, until = bytes_to_worker(stack), time.monotonic() + 2.0
    while time.monotonic() < until:
        if bytes_to_worker(stack) > before + TRICKLE:
            return False
        time.sleep(0.2)
    return True


@pytest.mark.slow  # a minute away, and what was spooled meanwhile
def test_nats_is_away_for_a_minute(stack: Stack) -> None:
    """The worker stops reading, says why, stays as it is, and goes on without loss."""
    add_all(stack)
    flows(stack, SENSORS)
    pids = stack.pids()
    worker = psutil.Process(pids["worker"])
    before = worker.memory_info().rss
    with stopped(supervisor(stack)):
        end(pids["nats"])
        until = time.monotonic() + AWAY_S
        wait_for("the worker stops reading", lambda: stands_still(stack), AWAY_S)
        while time.monotonic() < until:  # the outage itself
            assert worker.memory_info().rss < before + MOST_GROWTH
            time.sleep(1.0)
        assert stands_still(stack)
    flows(stack, SENSORS)
    log = log_of(stack, "worker")
    assert log.count("journal_away") >= 1
    assert log.count("journal_back") == log.count("journal_away")
    now = stack.pids()
    assert [name for name in pids if now[name] != pids[name]] == ["nats"]
    prove(stack, SENSORS, sizes_ms=SIZES_MS)


@pytest.mark.slow  # two starts of everything that NATS holds
def test_nats_comes_back_with_an_older_file(stack: Stack) -> None:
    """A new generation begins; spools refill what was lost, and row keys settle what comes twice."""
    add_all(stack)
    flows(stack, SENSORS, 50)
    folder, older = stack.data_dir / "nats", stack.data_dir / "older"
    with stopped(stack.pids()["nats"]):
        shutil.copytree(folder, older)
    flows(stack, SENSORS, 200)
    delivered = len(Warehouse(stack).readings("press-1"))
    with stopped(supervisor(stack)):
        end(stack.pids()["nats"])
        shutil.rmtree(folder)
        older.rename(folder)
    flows(stack, SENSORS)
    assert delivered > 200
    log = log_of(stack, "worker")
    assert "journal_rolled_back" in log
    prove(stack, SENSORS, sizes_ms=SIZES_MS)


@pytest.mark.slow  # it stands beside the other ends of NATS
def test_the_final_record_of_the_journal_is_torn(stack: Stack) -> None:
    """A record whose end the medium lost is served again by the agent, and counted once."""
    add_all(stack)
    flows(stack, SENSORS, 50)
    for shard in (0, 1):
        with stopped(supervisor(stack)):
            end(stack.pids()["nats"])
            path = newest_block(stack, shard)
            os.truncate(path, path.stat().st_size - 7)
        flows(stack, SENSORS)
    assert "journal_rolled_back" in log_of(stack, "worker")
    prove(stack, SENSORS, sizes_ms=SIZES_MS)


def newest_block(stack: Stack, shard: int) -> Path:
    """Return the file that JetStream appends a shard's readings to."""
    blocks = (stack.data_dir / "nats").rglob(f"{readings_stream(shard)}/msgs/*.blk")
    return max(blocks, key=lambda path: int(path.stem))
