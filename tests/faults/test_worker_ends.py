"""However a worker process ends in mid-stream, no byte of a body reaches its follower."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import hpack
import pytest
from hyperframe.frame import DataFrame, HeadersFrame

from tests.faults.roles import start_role
from tests.faults.tap import bodies_of, tap
from tests.journal.support import check_log, readings_log, wait_for
from tests.support.nats import NatsServer
from tests.worker.rig import rig

pytestmark = pytest.mark.timeout(120)

PRODUCED = 3000  # readings for each life of the worker, 20 a frame
STREAMING = 600  # in the journal when it ends: the rest is on the way, or still with the agent


def test_the_tap_sees_a_byte_that_leaks() -> None:
    """So that the test below says something: one answer of 200 without a body, one with, one of 503."""
    encoder, wire = hpack.Encoder(), bytearray()
    for stream, status in ((1, "200"), (3, "200"), (5, "503")):
        wire += HeadersFrame(stream, encoder.encode([(":status", status)]), flags=["END_HEADERS"]).serialize()
    wire += DataFrame(3, b"x").serialize() + DataFrame(5, b"no healthy upstream").serialize()
    assert bodies_of(wire + b"\0\0") == {1: b"", 3: b"x"}


async def test_no_byte_of_a_body_leaks(nats_server: NatsServer, tmp_path: Path) -> None:
    """SIGTERM and SIGKILL in full flow, by turns: the wire shows heads only, every reading counts once."""
    async with rig(tmp_path, nats_server) as around, tap(around.envoy.url) as tapped:
        config = around.config().model_copy(update={"gateway_url": tapped.url}).model_dump()
        head = 0
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
            around.plane.subscriptions.append({})  # `connected` waits for this worker, not one before it
            worker = await asyncio.to_thread(start_role, tmp_path, "worker", config)
            try:
                await around.plane.connected()
                if head == 0:
                    await around.program(*around.agents)
                for agent in around.agents.values():
                    agent.produce(PRODUCED)
                for sensor in around.agents:
                    await around.journalled(sensor, head + STREAMING)
                head += PRODUCED
            finally:
                assert worker.process is not None
                worker.process.send_signal(number)
                code = await asyncio.to_thread(worker.process.wait, 20)
            assert code == (0 if number == signal.SIGTERM else -number)
            await wait_for(
                "no stream is open", lambda: not any(a.open_streams for a in around.agents.values())
            )
        assert tapped.streams >= 3 * len(around.agents)
        assert tapped.leaked == []

        await around.start_worker()
        for sensor in around.agents:
            assert await around.journalled(sensor, head) == list(range(1, head + 1))
        check_log(await readings_log(around.client.jetstream()))
        for row in (await around.audit()).sensors:
            assert (row.received, row.aggregated, row.duplicate, row.gaps) == (head, head, 0, 0)
