"""Half of a fleet dies in one instant: the streams of the other half do not notice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import nats
import pytest

from control_plane.model import SensorSpec
from control_plane.store.records import SensorRecord
from hyperv.model import Endpoint
from tests.e2e.evidence import Warehouse, audit_problems, reading_problems, window_problems
from tests.e2e.steps import MACHINE_SPEED, add, assert_settles, prove, replay
from tests.faults import farm as vms
from tests.faults.hands import PATIENCE_S, SIZES_MS, agent, flows, short_windows, stopped
from tests.faults.roles import OwnProcess, start_node, start_role
from tests.faults.scripted_host import scripted_host
from tests.support.nats import NatsServer
from tests.support.processes import alive
from tests.support.stack import Stack, wait_for
from wire.names import SENSORS_BUCKET

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


# --- as many as a farm has ------------------------------------------------------------------------
FLEET = 5000
HALF = FLEET // 2
SAMPLE = range(0, FLEET, 50)
OPEN_S = 240.0
ADDERS = 32
SPEC = {
    "metrics": [{"name": "temperature", "unit": "Cel"}],
    "source": {"kind": "replay", "recording": "machine_temperature"},
}


@contextmanager
def farm(folder: Path, name: str, begun_unix_ns: int, port: int = 0) -> Iterator[tuple[OwnProcess, int]]:
    """Return a running farm and its port."""
    ready = folder / f"{name}.port"
    ready.unlink(missing_ok=True)
    process = OwnProcess(folder, name)
    process.run(sys.executable, "-m", "tests.faults.farm", str(begun_unix_ns), str(port), str(ready))
    try:
        yield process, int(process.await_text(ready))
    finally:
        process.kill()


@asynccontextmanager
async def fleet(folder: Path, nats_url: str, ports: tuple[int, int]) -> AsyncIterator[Stack]:
    """Return an installation with one node whose host has the VMs of two farms; its sensors stream."""

    def endpoint(sensor_id: str) -> Endpoint:
        number = int(sensor_id.partition("-")[2])
        return Endpoint(address=vms.address(number), port=ports[number >= HALF])

    async with AsyncExitStack() as parts:
        host = await parts.enter_async_context(scripted_host(endpoint))
        for number in range(FLEET):
            host.have(wanted(number).vm_spec())
        warehouse, token = folder / "warehouse", folder / "token"
        config = {
            "nats_url": nats_url,
            "state_dir": str(folder / "control"),
            "token_file": str(token),
            "hosts": [{"id": "lab", "url": host.url}],
            "warehouse_dir": str(warehouse),
        }
        control = await asyncio.to_thread(start_role, folder, "control-plane", config)
        parts.callback(control.stop)
        info = json.loads((folder / "control-plane.ready").read_text())
        info |= {"nats_url": nats_url, "token_file": str(token), "warehouse_dir": str(warehouse)}
        stack = Stack(folder, info=info)
        await asyncio.to_thread(short_windows, stack)
        node = await asyncio.to_thread(start_node, info, folder / "node", "node-1")
        parts.callback(node.stop)
        target = {"kind": "warehouse", "dir": str(warehouse)}
        sink = {"name": "warehouse", "nats_url": nats_url, "shards": 2, "target": target}
        sinking = await asyncio.to_thread(start_role, folder, "sink", sink)
        parts.callback(sinking.stop)
        yield stack


def wanted(number: int) -> SensorSpec:
    """Return what is wanted of a sensor."""
    return SensorSpec.model_validate({"id": vms.sensor(number), "host": "lab", "site": "hall-3", **SPEC})


async def wish(nats_url: str) -> None:
    """Write the sensors to the desired state; there is no control plane yet."""
    client = await nats.connect(nats_url)
    bucket = await client.jetstream().create_key_value(bucket=SENSORS_BUCKET)
    numbers = iter(range(FLEET))

    async def put_some() -> None:
        for number in numbers:
            record = SensorRecord(spec=wanted(number), created_unix_ns=time.time_ns())
            await bucket.put(vms.sensor(number), record.encode())

    await asyncio.gather(*(put_some() for _ in range(ADDERS)))
    await client.close()


def live(stack: Stack) -> set[str]:
    """Return the sensors that are live."""
    return {each["id"] for each in stack.api("GET", "/v1/sensors")["sensors"] if each["status"] == "live"}


@pytest.mark.slow  # minutes: thousands of streams are opened, half of them twice
@pytest.mark.timeout(900)
async def test_thousands_die_in_one_instant(nats_server: NatsServer, tmp_path: Path) -> None:
    """2,500 of 5,000 VMs are gone at once and come back: the others go on in the streams they have."""
    begun = time.time_ns() // vms.STEP_NS * vms.STEP_NS
    names = [vms.sensor(number) for number in range(FLEET)]
    with farm(tmp_path, "dying", begun) as (dying, port), farm(tmp_path, "living", begun) as (_, other):
        await wish(nats_server.url)
        async with fleet(tmp_path, nats_server.url, (port, other)) as stack:
            everyone = set(names)
            await asyncio.to_thread(wait_for, "all are live", lambda: live(stack) == everyone, OPEN_S)
            before = await asyncio.to_thread(streams, stack)
            dying.kill()
            await asyncio.to_thread(flows, stack, names[HALF:])
            now = await asyncio.to_thread(streams, stack)
            assert not [n for n in names[HALF:] if now[n]["reconnects"] != before[n]["reconnects"]]
            assert not [n for n in names[HALF:] if now[n]["state"] != "live"]
            assert not [n for n in names[:HALF] if now[n]["state"] == "live"]
            with farm(tmp_path, "again", begun, port):
                await asyncio.to_thread(wait_for, "all are back", lambda: live(stack) == everyone, OPEN_S)
                await asyncio.to_thread(prove_fleet, stack, begun, time.time_ns())


def prove_fleet(stack: Stack, begun: int, now: int) -> None:
    """Every reading until `now` is in the warehouse once; of some sensors, every row is compared."""
    until = now // 10_000_000_000 * 10_000_000_000
    warehouse = Warehouse(stack)
    produced = {vms.sensor(number): vms.readings(number, begun, until) for number in SAMPLE}
    each = len(produced[vms.sensor(0)])

    def counts() -> list[str]:
        rows = warehouse.query(
            "SELECT sensor_id, count(*), count(DISTINCT seq), max(seq) FROM readings"
            " WHERE epoch_ns(time) < ? GROUP BY ALL",
            [until],
        )
        wrong = [f"{row[0]} has {row[1:]}, not {each}" for row in rows if set(row[1:]) != {each}]
        return wrong if len(rows) == FLEET else [f"{len(rows)} sensors", *wrong]

    assert_settles("readings of all", counts)
    for name, readings in produced.items():
        assert reading_problems(readings, warehouse.readings(name), until) == []
    assert_settles(
        "windows",
        lambda: window_problems(produced, warehouse.windows(list(produced), until), until, SIZES_MS),
    )
    assert audit_problems(stack) == []
    audit = stack.api("GET", "/v1/audit")["sensors"]
    assert len(audit) == FLEET
    for row in audit:
        lost = row["too_late"], row["quarantined"], row["excluded"], row["undecodable_frames"], row["gaps"]
        assert lost == (0, 0, 0, 0, 0), row
