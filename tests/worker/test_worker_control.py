"""What the control plane says, and how the worker answers; the control plane is scripted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journal.support import check_log, open_journal, readings_log, running, wait_for
from tests.support.nats import NatsServer
from tests.worker.rig import rig
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.names import LEASE_TYPE, SENSOR_TYPE

pytestmark = pytest.mark.timeout(90)


async def test_bad_resources_are_refused_and_good_ones_taken(nats_server: NatsServer, tmp_path: Path) -> None:
    """A NACK names resource, field and rule; what was good in the same stream is in force."""
    async with rig(tmp_path, nats_server) as around:
        await around.start_worker()
        plane = around.plane
        await around.program("press-1")
        bad = config_pb2.SensorAssignment(sensor_id="press-2", cluster="host.lab", endpoint_version="x")
        answer = await plane.answer(await plane.put(SENSOR_TYPE, "press-2", bad.SerializeToString()))
        assert answer == "press-2: metrics must not be empty"
        answer = await plane.answer(await plane.put(LEASE_TYPE, "1", b"\xff"))
        assert answer == "1: not a ShardLease message"
        around.agents["press-1"].produce(10)
        assert await around.journalled("press-1", 10) == list(range(1, 11))


async def test_the_worker_goes_on_without_the_control_plane(nats_server: NatsServer, tmp_path: Path) -> None:
    """What was accepted stays in force, and a reconnect gets nothing that is here already."""
    async with rig(tmp_path, nats_server) as around:
        await around.start_worker()
        plane = around.plane
        await around.program("press-1")
        await plane.stop()
        around.agents["press-1"].produce(100)
        assert await around.journalled("press-1", 100) == list(range(1, 101))
        answers = dict(plane.answers)
        plane.subscriptions.append({})
        await plane.start()
        await plane.connected()
        assert plane.subscriptions[-1][SENSOR_TYPE] == {
            "press-1": plane.resources[SENSOR_TYPE]["press-1"].version
        }
        assert plane.answers == answers
        assert len(around.agents["press-1"].afters) == 1


async def test_a_lease_that_goes_and_comes_back(nats_server: NatsServer, tmp_path: Path) -> None:
    """Without its lease the shard is closed and its streams are reset; with a new one it goes on."""
    async with rig(tmp_path, nats_server) as around:
        await around.start_worker()
        plane = around.plane
        await around.program("press-1")
        agent = around.agents["press-1"]
        agent.produce(100)
        await around.journalled("press-1", 100)
        assert await plane.answer(await plane.remove(LEASE_TYPE, "0")) is None
        await wait_for("the stream is reset", lambda: agent.open_streams == 0)
        before = await readings_log(around.client.jetstream())
        agent.produce(100)
        assert await plane.lease(generation=2) is None
        assert await around.journalled("press-1", 200) == list(range(1, 201))
        opened = (await readings_log(around.client.jetstream()))[len(before)][1]
        assert (opened.kind, opened.lease_generation) == (journal_pb2.ReadingsRecord.OPEN, 2)
        assert "older" in (await plane.lease(shard=0, generation=1) or "")


async def test_a_stolen_shard_is_dropped(nats_server: NatsServer, tmp_path: Path) -> None:
    """A newer writer fences the worker: its streams are reset, and it waits for a new lease."""
    async with rig(tmp_path, nats_server) as around:
        await around.start_worker()
        await around.program("press-1")
        agent = around.agents["press-1"]
        agent.produce(100)
        await around.journalled("press-1", 100)
        thief = await open_journal(around.client.jetstream(), lease=5, writer="thief")
        async with running(thief):
            await wait_for("the stream is reset", lambda: agent.open_streams == 0)
            agent.produce(100)
            await thief.flush()
            assert (await around.status()).shards == []
        assert await around.plane.lease(generation=6) is None
        assert await around.journalled("press-1", 200) == list(range(1, 201))
        check_log(await readings_log(around.client.jetstream()))
