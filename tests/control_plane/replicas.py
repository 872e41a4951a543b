"""Two control planes over one NATS, as processes, with an Envoy, a worker and a lab host around them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from envoy_bootstrap.admin import AdminClient
from ext_proc.worker import app as worker_app
from ext_proc.worker.config import WorkerConfig
from tests.control_plane.rig import SHARDS, Plant
from tests.support.nats import NatsServer
from tests.xds.support import RealEnvoy, eventually

ENVOY_UPDATES = r"(\.update_success|\.update_rejected|config_reload)$"
START_S = 30.0


def free_port() -> int:
    """Return a port that nobody listens on: an Envoy must know it before anybody does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@dataclass
class Replica:
    """One control plane, run as an installation runs it: `python -m gaugeway run control-plane`."""

    name: str
    folder: Path
    config: dict[str, Any]
    session: aiohttp.ClientSession
    process: asyncio.subprocess.Process | None = None

    @property
    def api_url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.config['api_port']}"

    @property
    def xds_address(self) -> str:
        """Where it serves nodes while it leads."""
        return f"127.0.0.1:{self.config['xds_port']}"

    async def start(self) -> None:
        """Start it and wait until it stands by, or leads."""
        file, ready = self.folder / f"{self.name}.json", self.folder / f"{self.name}.ready"
        file.write_text(json.dumps(self.config))
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "gaugeway", "run", "control-plane", "--config", str(file)]
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, "--ready-file", str(ready), stdout=log, stderr=asyncio.subprocess.STDOUT
            )

        async def written() -> bool:
            assert self.process is not None
            assert self.process.returncode is None, self.log()
            return ready.exists()

        await eventually(f"replica {self.name} is ready", written, START_S)

    def log(self) -> str:
        """Return what it wrote."""
        return (self.folder / f"{self.name}.log").read_text()

    def events(self) -> list[str]:
        """Return what it logged, in a word each."""
        lines = (json.loads(line) for line in self.log().splitlines() if line.startswith("{"))
        return [str(line["event"]) for line in lines]

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self, timeout_s: float = 15.0) -> int:
        """Wait until it has ended; return its exit code."""
        assert self.process is not None
        async with asyncio.timeout(timeout_s):
            return await self.process.wait()

    async def kill(self) -> None:
        """End it as a crash does."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def stop(self) -> None:
        """End it in order; nothing to do if it does not run."""
        if self.process is not None and self.process.returncode is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            await self.ended()

    async def get(self, path: str) -> tuple[int, Any]:
        """Call its API without a token; return (status, JSON or text). Status 0: it does not answer."""
        try:
            async with asyncio.timeout(5), self.session.get(self.api_url + path) as response:
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError):
            return 0, None
        return response.status, json.loads(text) if "json" in response.content_type else text

    async def leads(self, timeout_s: float) -> float:
        """Wait until it leads; return for how many seconds."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()

        async def ready() -> bool:
            return (await self.get("/readyz"))[0] == 200

        await eventually(f"replica {self.name} leads", ready, timeout_s)
        return loop.time() - began_s

    async def samples(self, name: str) -> float:
        """Return the sum of one counter over all its labels."""
        _, text = await self.get("/metrics")
        lines = (line.rpartition(" ") for line in str(text).splitlines())
        return sum(float(value) for key, _, value in lines if key.partition("{")[0] == name)

    async def nodes(self) -> float:
        """Return how many Envoys and workers are connected."""
        return await self.samples("gaugeway_xds_connected_nodes")


@dataclass
class Replicated(Plant):
    """A plant with two control planes; `api` calls the one that the test follows."""

    one: Replica = field(init=False)
    other: Replica = field(init=False)

    def __post_init__(self) -> None:
        self.one, self.other = self._replica("control-a"), self._replica("control-b")

    def _replica(self, name: str) -> Replica:
        config = {
            "replica": name,
            "nats_url": self.nats.url,
            "state_dir": str(self.folder / name),
            "token_file": str(self.folder / "token"),
            "api_port": free_port(),
            "xds_port": free_port(),
            "shards": SHARDS,
        }
        return Replica(name, self.folder, config, self.session)

    def follow(self, leader: Replica) -> None:
        """Have `api` call this replica."""
        self.control.info = {"api_url": leader.api_url, "xds_address": leader.xds_address}

    async def start_replicas(self) -> None:
        """Start the lab host and both control planes; `one` leads, `other` stands by."""
        await self.start_lab()
        for replica in (self.one, self.other):
            replica.config["hosts"] = [{"id": "lab", "kind": "lab", "url": self.lab.info["url"]}]
            await replica.start()
            if replica is self.one:
                await replica.leads(START_S)
        self.follow(self.one)

    async def start_envoy(self, node_id: str = "envoy-1") -> None:
        """Start an Envoy that knows both."""
        self.envoy = RealEnvoy(
            self.folder / "envoy",
            self.folder / "worker.sock",
            self.one.config["xds_port"],
            node_id=node_id,
            xds_others=(self.other.xds_address,),
        )
        await self.envoy.start()
        await self.envoy.gateway_url()

    async def start_worker(self) -> None:
        """Start a worker that knows both."""
        assert self.envoy is not None
        config = WorkerConfig(
            node_id=self.envoy.node_id,
            xds_address=f"{self.one.xds_address},{self.other.xds_address}",
            nats_url=self.nats.url,
            gateway_url=await self.envoy.gateway_url(),
            ext_proc_socket=str(self.envoy.socket),
        )
        await self.worker.start(lambda ready: worker_app.serve(config, ready))

    async def start_all(self) -> None:
        """Start everything."""
        await self.start_replicas()
        await self.start_envoy()
        await self.start_worker()

    async def updates(self) -> dict[str, int]:
        """Return how often Envoy took or refused configuration, by stat."""
        assert self.envoy is not None
        async with AdminClient(self.envoy.admin_url) as admin:
            found = await admin.stats(ENVOY_UPDATES)
        # Of the cluster of control planes it is the resolution of a static list, no configuration.
        return {name: value for name, value in found.items() if not name.startswith("cluster.control_plane.")}

    async def everybody_at(self, leader: Replica, timeout_s: float) -> float:
        """Wait until Envoy and worker are connected to this replica; return for how many seconds."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()

        async def both() -> bool:
            return await leader.nodes() == 2

        await eventually(f"Envoy and worker are at {leader.name}", both, timeout_s)
        return loop.time() - began_s

    async def stop(self) -> None:
        """End everything."""
        await super().stop()
        for replica in (self.one, self.other):
            with contextlib.suppress(ProcessLookupError):
                await replica.stop()


@asynccontextmanager
async def replicated(folder: Path, server: NatsServer) -> AsyncIterator[Replicated]:
    """Return the plant; nothing but NATS runs yet."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        whole = Replicated(folder, server, session)
        stack.push_async_callback(whole.stop)
        yield whole
