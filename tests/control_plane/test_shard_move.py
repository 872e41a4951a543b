"""A second node joins: shards move to it while their sensors stream, and no reading is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from control_plane.reconcile.leases import rendezvous
from ext_proc.worker import app as worker_app
from ext_proc.worker.config import WorkerConfig
from tests.control_plane.rig import SHARDS, Plant, Process, machine, plant
from tests.support.nats import NatsServer
from tests.xds.support import NODE, RealEnvoy, eventually
from wire.ids import shard_of

FIRST = NODE.node_id
# A second node that rendezvous hashing gives one of the two shards, and leaves the first the other.
SECOND = next(
    name
    for name in (f"envoy-{number}" for number in range(2, 50))
    if {rendezvous(shard, (FIRST, name)) for shard in range(SHARDS)} == {FIRST, name}
)
MOVING = next(shard for shard in range(SHARDS) if rendezvous(shard, (FIRST, SECOND)) == SECOND)
SENSORS = [f"press-{number}" for number in range(1, 7)]


async def second_node(whole: Plant) -> tuple[RealEnvoy, Process]:
    """Start another Envoy with a worker beside it."""
    xds_address = str(whole.control.info["xds_address"])
    folder = whole.folder / "second"
    folder.mkdir()
    envoy = RealEnvoy(
        folder / "envoy", folder / "worker.sock", int(xds_address.rpartition(":")[2]), node_id=SECOND
    )
    await envoy.start()
    config = WorkerConfig(
        node_id=SECOND,
        xds_address=xds_address,
        nats_url=whole.nats.url,
        gateway_url=await envoy.gateway_url(),
        ext_proc_socket=str(envoy.socket),
    )
    worker = Process("second worker")
    await worker.start(lambda ready: worker_app.serve(config, ready))
    return envoy, worker


async def held_by(whole: Plant) -> dict[str, str]:
    """Return which live sensor is on which node."""
    _, answer = await whole.api("GET", "/v1/sensors")
    return {each["id"]: each["node"] for each in answer["sensors"] if each["status"] == "live"}


async def audit(whole: Plant) -> dict[str, dict[str, Any]]:
    """Return every sensor's counters, once all shards answer."""

    async def answered() -> dict[str, dict[str, Any]] | None:
        status, answer = await whole.api("GET", "/v1/audit")
        return {row["sensor_id"]: row for row in answer["sensors"]} if status == 200 else None

    return await eventually("the audit answers", answered)


async def test_shards_move_to_a_worker_that_came_to_stay(tmp_path: Path, nats_server: NatsServer) -> None:
    """The shard that belongs to the new node moves, the other stays; every reading is counted once."""
    async with plant(tmp_path, nats_server) as whole:
        whole.rebalance_after_s = 0.5
        await whole.start_all()
        for name in SENSORS:
            assert (await whole.api("POST", "/v1/sensors", machine(name, interval_ms=20)))[0] == 201
        for name in SENSORS:
            await whole.reaches(name, "live")
        envoy, worker = await second_node(whole)
        try:
            wanted = {name: SECOND if shard_of(name, SHARDS) == MOVING else FIRST for name in SENSORS}
            assert set(wanted.values()) == {FIRST, SECOND}

            async def moved() -> bool:
                return await held_by(whole) == wanted

            await eventually(f"the sensors are at {wanted}", moved)
            before = await audit(whole)

            async def streams_on() -> bool:
                now = await audit(whole)
                return all(now[name]["received"] > before[name]["received"] + 50 for name in SENSORS)

            await eventually("every sensor is read on", streams_on)
            for row in (await audit(whole)).values():
                parts = ("aggregated", "duplicate", "quarantined", "too_late", "excluded")
                assert row["received"] == sum(row[part] for part in parts), row
                assert (row["gaps"], row["undecodable_frames"], row["too_late"]) == (0, 0, 0), row
        finally:
            await asyncio.gather(worker.stop(), envoy.stop())
