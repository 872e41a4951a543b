"""Streams through the real Envoy into the journal on the real NATS server; agents are scripted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.journal.support import check_log, readings_log, seqs_of, wait_for
from tests.support.live import first_live_windows
from tests.support.nats import NatsServer
from tests.worker.rig import rig

pytestmark = pytest.mark.timeout(90)


async def test_readings_reach_the_journal(nats_server: NatsServer, tmp_path: Path) -> None:
    """Assigned sensors are followed through Envoy; every reading is journalled once, in order."""
    async with rig(tmp_path, nats_server) as around:
        await around.start_worker()
        live = asyncio.create_task(first_live_windows(around.client, "press-1", within_s=60))
        await around.program("press-1", "press-2")
        for agent in around.agents.values():
            agent.produce(120)
        assert await around.journalled("press-1", 120) == list(range(1, 121))
        around.agents["press-1"].produce(280)
        assert await around.journalled("press-1", 400) == list(range(1, 401))
        assert await around.journalled("press-2", 120) == list(range(1, 121))
        windows = await live
        assert windows.sensor_id == "press-1"
        assert 1000 in {window.size_ms for window in windows.windows}
        sensors = {sensor.sensor_id: sensor for sensor in (await around.audit()).sensors}
        assert (sensors["press-1"].received, sensors["press-1"].aggregated) == (400, 400)
        stream = await around.stream("press-1")
        assert stream is not None
        assert (stream.state, stream.accepted_seq, stream.committed_seq) == ("live", 400, 400)
        assert stream.epoch == f"{7:016x}"
        await around.stop_worker()
        check_log(await readings_log(around.client.jetstream()))


async def test_unassigning_resets_the_stream_and_keeps_what_it_delivered(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """The ACK of a removal comes after the stream is gone and all of it is journalled."""
    async with rig(tmp_path, nats_server) as around:
        await around.start_worker()
        await around.program("press-1")
        agent = around.agents["press-1"]
        agent.produce(1000)
        await around.journalled("press-1", 50)
        assert await around.plane.unassign("press-1") is None
        stream = await around.stream("press-1")
        assert stream is None
        audit = (await around.audit()).sensors[0]
        found = seqs_of(await readings_log(around.client.jetstream()), "press-1")
        assert found == list(range(1, audit.received + 1))
        await wait_for("the agent sees the end", lambda: agent.open_streams == 0)
        agent.produce(100)
        assert await around.plane.assign("press-1") is None
        assert await around.journalled("press-1", 1100) == list(range(1, 1101))
        assert agent.afters == ["", f"{7:016x}:{len(found)}"]


async def test_a_new_address_ends_the_old_stream_first(nats_server: NatsServer, tmp_path: Path) -> None:
    """A sensor that moves while streaming loses and doubles nothing."""
    async with rig(tmp_path, nats_server) as around:
        await around.start_worker()
        await around.program("press-1")
        old = around.agents["press-1"]
        old.produce(500)
        await around.journalled("press-1", 60)
        around.other.produce(900)  # the same spool, served from another address
        around.other.begun_unix_ns = old.begun_unix_ns
        assert await around.plane.assign("press-1", "host.other", "there:2") is None
        assert await around.journalled("press-1", 900) == list(range(1, 901))
        await wait_for("the old stream ends", lambda: old.open_streams == 0)
        stream = await around.stream("press-1")
        assert stream is not None
        assert stream.endpoint_version == "there:2"
        assert around.other.afters[0].startswith(f"{7:016x}:")


async def test_streams_that_break_off_are_resumed(nats_server: NatsServer, tmp_path: Path) -> None:
    """Cuts anywhere, even within a frame, lose and double nothing."""
    async with rig(tmp_path, nats_server) as around:
        await around.start_worker()
        await around.program("press-1")
        agent = around.agents["press-1"]
        for cut in range(1, 6):
            agent.produce(300)
            await around.journalled("press-1", cut * 100)
            await wait_for("a stream is open", lambda: agent.open_streams == 1)
            agent.cut()
            await wait_for("it is cut", lambda: agent.open_streams == 0)
        assert await around.journalled("press-1", 1500) == list(range(1, 1501))
        stream = await around.stream("press-1")
        assert stream is not None
        assert stream.reconnects >= 5


async def test_bad_frames_are_counted(nats_server: NatsServer, tmp_path: Path) -> None:
    """An undecodable frame costs itself; lost framing costs the stream, which is opened again."""
    async with rig(tmp_path, nats_server) as around:
        await around.start_worker()
        await around.program("press-1")
        agent = around.agents["press-1"]
        agent.produce(100)
        await around.journalled("press-1", 100)
        agent.junk = b"\x03\xff\xff\xff"
        await wait_for("the junk is served", lambda: not agent.junk)
        agent.produce(100)
        await around.journalled("press-1", 200)
        assert len(agent.afters) == 1
        agent.junk = b"\xff\xff\xff\xff\xff"
        await wait_for("a second stream", lambda: len(agent.afters) == 2)
        agent.produce(100)
        assert await around.journalled("press-1", 300) == list(range(1, 301))
        audit = (await around.audit()).sensors[0]
        assert (audit.undecodable_frames, audit.gaps, audit.received) == (2, 0, 300)


async def test_a_vm_that_envoy_does_not_know_is_reported(nats_server: NatsServer, tmp_path: Path) -> None:
    """Envoy's own 503 is not taken for a stream, and the status says so."""
    async with rig(tmp_path, nats_server) as around:
        await around.start_worker()
        await around.program("press-9")

        async def reported() -> bool:
            stream = await around.stream("press-9")
            return stream is not None and "503" in (stream.error or "")

        await wait_for("the status names 503", reported)
        around.agents["press-1"].content_type = "text/html"
        assert await around.plane.assign("press-1") is None

        async def refused() -> bool:
            stream = await around.stream("press-1")
            return stream is not None and "text/html" in (stream.error or "")

        await wait_for("the status names the content type", refused)


async def test_a_silent_agent_is_opened_again(nats_server: NatsServer, tmp_path: Path) -> None:
    """Five seconds without a frame: reset, and on as soon as it speaks."""
    async with rig(tmp_path, nats_server) as around:
        await around.start_worker()
        await around.program("press-1")
        agent = around.agents["press-1"]
        agent.produce(10)
        await around.journalled("press-1", 10)
        agent.mute = True

        async def silent() -> bool:
            stream = await around.stream("press-1")
            return stream is not None and stream.state == "silent"

        await wait_for("the stream counts as silent", silent)
        await wait_for("a second stream", lambda: len(agent.afters) >= 2)
        agent.mute = False
        agent.produce(10)
        assert await around.journalled("press-1", 20) == list(range(1, 21))
