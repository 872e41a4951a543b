"""Half of a fleet dies in one instant: the streams of the other half do not notice."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tests.e2e.steps import MACHINE_SPEED, add, prove, replay
from tests.faults.hands import PATIENCE_S, SIZES_MS, agent, flows, stopped
from tests.support.processes import alive
from tests.support.stack import Stack, wait_for

SENSORS = [f"press-{number}" for number in range(1, 25)]
DYING, LIVING = SENSORS[::2], SENSORS[1::2]


def streams(stack: Stack) -> dict[str, dict[str, Any]]:
    """Return how the worker sees each sensor's stream."""
    sensors = stack.api("GET", "/v1/sensors")["sensors"]
    return {each["id"]: each["stream"] for each in sensors}


@pytest.mark.slow  # two dozen agents are started on a machine that has better things to do
@pytest.mark.timeout(400)
def test_agents_die_in_one_instant(stack: Stack) -> None:
    """Twelve of 24 agents are killed: the others go on in the streams that they have."""
    add(stack, *(replay(name, "machine_temperature", MACHINE_SPEED) for name in SENSORS))
    flows(stack, SENSORS)
    before = streams(stack)
    pids = [agent(stack, name) for name in DYING]
    with stopped(stack.pids()["lab-host"]):
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_for("they are dead", lambda: not alive(pids), PATIENCE_S)
        flows(stack, LIVING, 50)
        now = streams(stack)
        assert not [name for name in LIVING if now[name]["reconnects"] != before[name]["reconnects"]]
        assert not [name for name in LIVING if now[name]["state"] != "live"]
        assert not [name for name in DYING if now[name]["state"] == "live"]
    flows(stack, SENSORS)
    prove(stack, SENSORS, sizes_ms=SIZES_MS)
