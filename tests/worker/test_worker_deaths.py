"""NATS and the worker die or end while readings stream; nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ext_proc.journal.checkpoints import load_checkpoint
from tests.journal.support import check_log, readings_log, wait_for
from tests.support.nats import NatsServer
from tests.worker.rig import Rig, rig
from wire.names import readings_stream

pytestmark = pytest.mark.timeout(90)


async def test_nats_dies_and_comes_back(nats_server: NatsServer, tmp_path: Path) -> None:
    """While NATS is away the worker stops reading; afterwards everything is there once."""
    async with rig(tmp_path, nats_server) as around:
        await around.start_worker()
        await around.program("press-1", "press-2")
        for number in range(1, 4):
            for agent in around.agents.values():
                agent.produce(300)
            await around.journalled("press-1", 300 * number - 290)
            nats_server.kill()
            for agent in around.agents.values():
                agent.produce(700)
            await asyncio.sleep(0.3)  # an outage of some length, not a wait for a state
            nats_server.start()
            for agent in around.agents.values():
                agent.produce(1)
            for sensor in ("press-1", "press-2"):
                head = around.agents[sensor].head
                assert await around.journalled(sensor, head) == list(range(1, head + 1))
        await wait_for("running again", lambda: _state_is(around, "running"))
        sensors = (await around.audit()).sensors
        assert [sensor.received for sensor in sensors] == [3003, 3003]
        check_log(await readings_log(around.client.jetstream()))


async def _state_is(around: Rig, state: str) -> bool:
    return (await around.status()).state == state


async def test_a_stopped_worker_is_continued(nats_server: NatsServer, tmp_path: Path) -> None:
    """A worker that is stopped while readings stream flushes, writes a checkpoint, and is continued."""
    async with rig(tmp_path, nats_server) as around:
        agent = around.agents["press-1"]
        for number in range(1, 4):
            await around.start_worker()
            if number == 1:
                await around.program("press-1")
            agent.produce(1000)
            await around.journalled("press-1", 1000 * number - 900)
            await around.stop_worker()
            await wait_for("no stream is open", lambda: agent.open_streams == 0)
        await around.start_worker()
        assert await around.journalled("press-1", 3000) == list(range(1, 3001))
        assert (await around.audit()).sensors[0].received == 3000


async def test_a_killed_worker_is_replaced(nats_server: NatsServer, tmp_path: Path) -> None:
    """SIGKILL of the worker process while readings stream: nothing lost, nothing twice."""
    async with rig(tmp_path, nats_server) as around:
        agent = around.agents["press-1"]
        for number in range(1, 4):
            process = _worker_process(around)
            await around.plane.connected()
            if number == 1:
                await around.program("press-1")
            agent.produce(2000)
            await around.journalled("press-1", 2000 * number - 1900)
            process.kill()
            process.wait()
        await around.start_worker()
        assert await around.journalled("press-1", 6000) == list(range(1, 6001))
        audit = (await around.audit()).sensors[0]
        assert (audit.received, audit.aggregated, audit.duplicate) == (6000, 6000, 0)


async def test_a_terminated_worker_ends_in_order(nats_server: NatsServer, tmp_path: Path) -> None:
    """SIGTERM ends the process within seconds, with a checkpoint at the end of its log."""
    async with rig(tmp_path, nats_server) as around:
        process = _worker_process(around)
        await around.plane.connected()
        await around.program("press-1")
        around.agents["press-1"].produce(5000)
        await around.journalled("press-1", 500)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 15) == 0
        js = around.client.jetstream()
        last = (await js.stream_info(readings_stream(0))).state.last_seq
        stored = await load_checkpoint(js, 0)
        assert stored is not None
        assert stored.checkpoint.through == last


def _worker_process(around: Rig) -> subprocess.Popen[bytes]:
    """Run the worker in a process of its own, ended by SIGTERM as its supervisor does it."""
    program = (
        "import asyncio, signal, sys\n"
        "from ext_proc.worker.app import serve\n"
        "from ext_proc.worker.config import WorkerConfig\n"
        "async def main():\n"
        "    task = asyncio.current_task()\n"
        "    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)\n"
        "    try:\n"
        "        await serve(WorkerConfig.model_validate_json(sys.argv[1]), print)\n"
        "    except asyncio.CancelledError:\n"
        "        pass\n"
        "asyncio.run(main())\n"
    )
    around.plane.subscriptions.append({})  # `connected` waits for this worker, not one before it
    log = (around.folder / "worker.log").open("ab")
    with log:
        return subprocess.Popen(
            [sys.executable, "-c", program, around.config().model_dump_json()],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
