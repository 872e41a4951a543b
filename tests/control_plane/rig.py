"""A control plane with everything real around it: NATS, Envoy, worker, lab host, agents."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from control_plane.app import serve
from control_plane.config import ControlPlaneConfig, HostConfig
from ext_proc.worker import app as worker_app
from ext_proc.worker.config import WorkerConfig
from hyperv.lab import app as lab_app
from hyperv.lab.app import LabHostConfig
from tests.support.nats import NatsServer
from tests.xds.support import NODE, RealEnvoy, eventually

SHARDS = 2

Role = Callable[[Callable[[dict[str, object]], None]], Coroutine[None, None, None]]


class Process:
    """A role's `serve`, run as a task of this process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.info: dict[str, Any] = {}
        self.task: asyncio.Task[None] | None = None

    async def start(self, role: Role) -> None:
        """Run it and wait until it is ready; raises what it ends with."""
        ready = asyncio.Event()

        def on_ready(info: dict[str, object]) -> None:
            self.info = dict(info)
            ready.set()

        self.task = asyncio.create_task(role(on_ready), name=self.name)
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({self.task, waiting}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self.task.done():
            self.task.result()
        assert ready.is_set(), f"{self.name} is not ready within 30 s"

    async def stop(self) -> None:
        """End it in order; nothing to do if it does not run."""
        if self.task is not None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task
            self.task = None


@dataclass
class Plant:
    """The control plane and its surroundings; each part can be stopped and started again."""

    folder: Path
    nats: NatsServer
    session: aiohttp.ClientSession
    control: Process = field(default_factory=lambda: Process("control plane"))
    lab: Process = field(default_factory=lambda: Process("lab"))
    worker: Process = field(default_factory=lambda: Process("worker"))
    envoy: RealEnvoy | None = None
    grace_s: float = 10.0
    rebalance_after_s: float = 30.0
    host_url: str = ""  # in place of the lab's own

    def config(self) -> ControlPlaneConfig:
        """Return the control plane's configuration; its ports are pinned once they were chosen."""
        xds_port = int(str(self.control.info.get("xds_address", ":0")).rpartition(":")[2])
        url = self.host_url or self.lab.info.get("url", "http://127.0.0.1:9")
        return ControlPlaneConfig(
            nats_url=self.nats.url,
            state_dir=self.folder / "control",
            token_file=self.folder / "token",
            xds_port=xds_port,
            shards=SHARDS,
            worker_grace_s=self.grace_s,
            rebalance_after_s=self.rebalance_after_s,
            hosts=(HostConfig(id="lab", url=url),),
        )

    async def start_control(self) -> None:
        """Start the control plane."""
        await self.control.start(lambda ready: serve(self.config(), ready, None))

    async def start_lab(self) -> None:
        """Start the lab host; on the same port as before if there was one."""
        port = int(str(self.lab.info.get("url", ":0")).rpartition(":")[2])
        config = LabHostConfig(host_id="lab", data_dir=self.folder / "lab", port=port)
        await self.lab.start(lambda ready: lab_app.serve(config, ready))

    async def start_envoy(self, node_id: str = NODE.node_id) -> None:
        """Start Envoy; its gateway listens when this returns."""
        xds_port = int(str(self.control.info["xds_address"]).rpartition(":")[2])
        self.envoy = RealEnvoy(self.folder / "envoy", self.folder / "worker.sock", xds_port, node_id=node_id)
        await self.envoy.start()
        await self.envoy.gateway_url()

    async def start_worker(self) -> None:
        """Start the worker beside Envoy."""
        assert self.envoy is not None
        config = WorkerConfig(
            node_id=self.envoy.node_id,
            xds_address=str(self.control.info["xds_address"]),
            nats_url=self.nats.url,
            gateway_url=await self.envoy.gateway_url(),
            ext_proc_socket=str(self.envoy.socket),
        )
        await self.worker.start(lambda ready: worker_app.serve(config, ready))

    async def start_all(self) -> None:
        """Start everything, as the supervisor does."""
        await self.start_lab()
        await self.start_control()
        await self.start_envoy()
        await self.start_worker()

    async def stop(self) -> None:
        """End everything."""
        await self.worker.stop()
        if self.envoy is not None:
            await self.envoy.stop()
        await self.control.stop()
        await self.lab.stop()

    async def api(self, method: str, path: str, body: object = None) -> Any:
        """Call the API; return (status, JSON)."""
        token = (self.folder / "token").read_text().strip()
        async with self.session.request(
            method,
            f"{self.control.info['api_url']}{path}",
            json=body,
            headers={"Authorization": f"Bearer {token}"},
        ) as response:
            text = await response.text()
            return response.status, (await response.json(content_type=None) if text else None)

    async def sensor(self, sensor_id: str) -> dict[str, Any] | None:
        """Return a sensor's view, None if there is none."""
        status, view = await self.api("GET", f"/v1/sensors/{sensor_id}")
        assert status in {200, 404}, view
        return view if status == 200 else None

    async def reaches(self, sensor_id: str, status: str, timeout_s: float = 20.0) -> dict[str, Any]:
        """Wait until a sensor has a status; return its view."""
        last: list[Any] = [None]

        async def probe() -> dict[str, Any] | None:
            last[0] = await self.sensor(sensor_id)
            return last[0] if last[0] is not None and last[0]["status"] == status else None

        try:
            return await eventually(f"{sensor_id} is {status}", probe, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {last[0]}") from None

    async def gone(self, sensor_id: str, timeout_s: float = 20.0) -> None:
        """Wait until there is no such sensor."""

        async def probe() -> bool:
            return await self.sensor(sensor_id) is None

        await eventually(f"{sensor_id} is gone", probe, timeout_s)


def machine(sensor_id: str, interval_ms: int = 100) -> dict[str, Any]:
    """Return the API's body for a sensor of this machine."""
    return {
        "id": sensor_id,
        "site": "hall-3",
        "metrics": [{"name": "memory_used", "unit": "%"}],
        "source": {"kind": "machine", "interval_ms": interval_ms},
        "flush_ms": 50,
    }


@asynccontextmanager
async def plant(folder: Path, server: NatsServer) -> AsyncIterator[Plant]:
    """Return the surroundings; nothing but NATS runs yet."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        whole = Plant(folder, server, session)
        stack.push_async_callback(whole.stop)
        yield whole
