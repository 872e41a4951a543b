"""Everything around a worker: real NATS, real Envoy, scripted agents and a scripted control plane."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from ext_proc.worker.app import serve
from ext_proc.worker.config import WorkerConfig
from tests.journal.support import connected, readings_log, seqs_of, wait_for
from tests.support.nats import NatsServer
from tests.worker.agent import ScriptedAgent, scripted_agent
from tests.worker.control_plane import ScriptedControlPlane, scripted_control_plane
from tests.worker.envoy import StaticEnvoy
from wire.names import audit_subject, worker_status_subject
from wire.status import ShardAudit, StreamStatus, WorkerStatus

SENSORS = ("press-1", "press-2")


@dataclass
class Rig:
    """The surroundings of a worker, and the worker if it was started."""

    folder: Path
    nats: NatsServer
    client: Client
    plane: ScriptedControlPlane
    envoy: StaticEnvoy
    agents: dict[str, ScriptedAgent]
    other: ScriptedAgent  # where press-1 is in the cluster host.other
    worker: asyncio.Task[None] | None = None

    def config(self) -> WorkerConfig:
        """Return the configuration of this worker."""
        return WorkerConfig(
            node_id="worker-1",
            xds_address=f"127.0.0.1:{self.plane.port}",
            nats_url=self.nats.url,
            gateway_url=self.envoy.url,
            ext_proc_socket=str(self.envoy.socket),
            batch_ms=10,
        )

    async def start_worker(self) -> None:
        """Run a worker in this process, and wait until it has asked for its resources."""
        ready = asyncio.Event()
        self.worker = asyncio.create_task(serve(self.config(), lambda _: ready.set()))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({self.worker, waiting}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        assert ready.is_set(), self.worker
        await self.plane.connected()

    async def stop_worker(self) -> None:
        """Stop it in order."""
        if self.worker is not None:
            self.worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.worker
            self.worker = None

    async def program(self, *sensors: str) -> None:
        """Send policy, lease and assignments; all are acknowledged."""
        assert await self.plane.default_policy() is None
        assert await self.plane.lease() is None
        for sensor in sensors:
            assert await self.plane.assign(sensor) is None

    async def status(self) -> WorkerStatus:
        """Return the next status that the worker publishes."""
        subscription = await self.client.subscribe(worker_status_subject("worker-1"))
        message = await subscription.next_msg(timeout=10)
        await subscription.unsubscribe()
        return WorkerStatus.model_validate_json(message.data)

    async def stream(self, sensor_id: str) -> StreamStatus | None:
        """Return the next status of a sensor's stream."""
        streams = (await self.status()).streams
        return next((stream for stream in streams if stream.sensor_id == sensor_id), None)

    async def audit(self) -> ShardAudit:
        """Ask the worker for the counters of shard 0, once it has opened it."""
        answers: list[bytes] = []

        async def answered() -> bool:
            try:
                answers.append((await self.client.request(audit_subject(0), timeout=5)).data)
            except nats.errors.NoRespondersError:
                return False
            return True

        await wait_for("shard 0 is open", answered)
        return ShardAudit.model_validate_json(answers[0])

    async def journalled(self, sensor_id: str, count: int) -> list[int]:
        """Wait until a sensor has `count` rows in the journal; return its sequence numbers."""
        js = self.client.jetstream()
        found: list[int] = []

        async def enough() -> bool:
            try:
                found[:] = seqs_of(await readings_log(js), sensor_id)
            except (nats.errors.Error, nats.js.errors.Error):
                return False  # the server was just restarted
            return len(found) >= count

        await wait_for(f"{sensor_id} has {count} rows", enough)
        return found


@asynccontextmanager
async def rig(
    folder: Path, server: NatsServer, more_hosts: Mapping[str, Mapping[str, int]] | None = None
) -> AsyncIterator[Rig]:
    """Return the surroundings; no worker runs yet. `more_hosts` maps clusters to their sensors' ports."""
    async with AsyncExitStack() as stack:
        agents = {sensor: await stack.enter_async_context(scripted_agent()) for sensor in SENSORS}
        other = await stack.enter_async_context(scripted_agent())
        hosts = {
            "host.lab": {sensor: agent.port for sensor, agent in agents.items()},
            "host.other": {"press-1": other.port},
            **(more_hosts or {}),
        }
        envoy = StaticEnvoy(folder / "envoy", folder / "worker.sock", hosts)
        envoy.start()
        stack.callback(envoy.stop)
        plane = await stack.enter_async_context(scripted_control_plane())
        client = await stack.enter_async_context(connected(server))
        around = Rig(folder, server, client, plane, envoy, agents, other)
        stack.push_async_callback(around.stop_worker)
        yield around
