"""Processes die by SIGKILL while readings stream: nothing lost, nothing twice, here nor in BigQuery."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.evidence import Warehouse
from tests.e2e.steps import AMBIENT_SPEED, MACHINE_SPEED, Store, add, machine, prove, replay
from tests.faults.hands import SIZES_MS, agent, flows, kill, short_windows
from tests.support.bigquery import BigQueryEmulator
from tests.support.stack import Stack

pytestmark = pytest.mark.timeout(300)

SENSORS = ["press-1", "office-1", "node-1"]


@pytest.fixture
def stack(tmp_path: Path, bigquery_emulator: BigQueryEmulator) -> Iterator[Stack]:
    """A running Gaugeway with short windows, its BigQuery sink on the emulator."""
    config = tmp_path / "gaugeway.toml"
    config.write_text(bigquery_emulator.gaugeway_toml(readings=True, window_sizes_ms=SIZES_MS))
    stack = Stack(tmp_path / "data", arguments=("--no-demo", "--config", str(config)))
    stack.start()
    try:
        short_windows(stack)
        yield stack
    finally:
        stack.stop()


def test_every_process_is_killed_in_turn(stack: Stack, bigquery_emulator: BigQueryEmulator) -> None:
    """Worker, Envoy, NATS, the lab's agent, the sink and the control plane."""
    add(
        stack,
        replay("press-1", "machine_temperature", MACHINE_SPEED),
        replay("office-1", "ambient_temperature", AMBIENT_SPEED),
        machine("node-1"),
    )
    flows(stack, SENSORS)
    for name in ("worker", "envoy", "nats", "sink-warehouse", "control-plane"):
        kill(stack, name)
        flows(stack, SENSORS)
    os.kill(agent(stack, "press-1"), signal.SIGKILL)
    flows(stack, SENSORS)
    stores: dict[str, Store] = {"warehouse": Warehouse(stack), "BigQuery": bigquery_emulator}
    prove(stack, SENSORS, stores=stores, sizes_ms=SIZES_MS)
