"""Workers hang: one alone, and two that both believe they own a shard."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

import pytest

from control_plane.reconcile.leases import rendezvous
from gaugeway.supervisor.installation import NODE_ID
from tests.e2e.steps import MACHINE_SPEED, add, prove, replay
from tests.faults.hands import PATIENCE_S, SIZES_MS, flows, log_of, stopped
from tests.faults.roles import start_node
from tests.support.stack import Stack, wait_for
from wire.ids import shard_of
from wire.names import EXT_PROC_CLUSTER

pytestmark = pytest.mark.timeout(400)

SHARDS = 2
SENSORS = [f"press-{number}" for number in range(1, 7)]
# A second node that rendezvous hashing gives one of the two shards, and leaves the first the other.
SECOND = next(
    name
    for name in (f"node-{number}" for number in range(2, 50))
    if {rendezvous(shard, (NODE_ID, name)) for shard in range(SHARDS)} == {NODE_ID, name}
)
MOVING = next(shard for shard in range(SHARDS) if rendezvous(shard, (NODE_ID, SECOND)) == SECOND)
SHARED = {name: SECOND if shard_of(name, SHARDS) == MOVING else NODE_ID for name in SENSORS}
FOLDED = "shard_folded"  # what a worker logs just before it writes to a shard


def add_all(stack: Stack) -> None:
    """Add quick replays in both shards."""
    assert set(SHARED.values()) == {NODE_ID, SECOND}
    add(stack, *(replay(name, "machine_temperature", MACHINE_SPEED * 10) for name in SENSORS))
    flows(stack, SENSORS)


def statuses(stack: Stack) -> dict[str, str]:
    """Return the API's word for every sensor."""
    return {each["id"]: each["status"] for each in stack.api("GET", "/v1/sensors")["sensors"]}


def held_by(stack: Stack) -> dict[str, str]:
    """Return which live sensor is on which node."""
    sensors = stack.api("GET", "/v1/sensors")["sensors"]
    return {each["id"]: each["node"] for each in sensors if each["status"] == "live"}


def streams_at_worker(stack: Stack) -> int:
    """Return how many ext_proc streams Envoy has open."""
    query = f"/stats?filter=cluster.{EXT_PROC_CLUSTER}.upstream_rq_active"
    with urllib.request.urlopen(stack.info["envoy_admin_url"] + query, timeout=10) as answer:
        [gauge] = re.findall(r"upstream_rq_active: (\d+)", answer.read().decode())
    return int(gauge)


@pytest.mark.slow  # Envoy's keepalive notices a worker that hangs within 20 s
def test_a_worker_that_hangs_does_not_look_healthy(stack: Stack) -> None:
    """Stopped for longer than the keepalive: streams are reset, nobody calls them live; it goes on."""
    add_all(stack)
    worker = stack.pids()["worker"]
    with stopped(worker):
        wait_for("no sensor is called live", lambda: "live" not in statuses(stack).values(), PATIENCE_S)
        wait_for("Envoy has given its streams up", lambda: streams_at_worker(stack) == 0, PATIENCE_S)
    flows(stack, SENSORS)
    assert stack.pids()["worker"] == worker
    prove(stack, SENSORS, sizes_ms=SIZES_MS)


@pytest.mark.slow  # a worker is away after 10 s, and one that came is trusted after 30 s
def test_a_paused_owner_is_fenced(stack: Stack, tmp_path: Path) -> None:
    """Two live workers on one shard: the owner is paused in a hand-over and wakes when it is over.

    Then the shard is given back to it, and it is paused again, now as the one that takes over.
    """
    add_all(stack)
    first = stack.pids()["worker"]
    second = start_node(stack.info, tmp_path / "second", SECOND)
    try:
        wait_for("a shard begins to move", lambda: FOLDED in second.worker.log, PATIENCE_S)
        with stopped(first):
            everywhere = dict.fromkeys(SENSORS, SECOND)
            wait_for("all are at the second", lambda: held_by(stack) == everywhere, PATIENCE_S)
            flows(stack, SENSORS)
            opened = log_of(stack, "worker").count(FOLDED)
        wait_for(
            "the first begins to take over",
            lambda: log_of(stack, "worker").count(FOLDED) > opened and held_by(stack) != everywhere,
            PATIENCE_S * 2,
        )
        with stopped(first):
            flows(stack, [name for name in SENSORS if SHARED[name] == SECOND])
            wait_for("all are at the second", lambda: held_by(stack) == everywhere, PATIENCE_S)
        flows(stack, SENSORS)
        wait_for("each has its shard", lambda: held_by(stack) == SHARED, PATIENCE_S * 2)
        flows(stack, SENSORS)
        prove(stack, SENSORS, sizes_ms=SIZES_MS)
    finally:
        second.stop()
    assert "another writer appended" in log_of(stack, "worker")
