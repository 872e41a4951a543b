"""A data path of real processes, for bench.datapath and bench.fleet: NATS, Envoy, a worker.

Beside them, in processes of their own that are not counted, the agents
(bench.support.load) and a control plane (bench.support.control_plane).
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import nats
import psutil
from nats.aio.client import Client

from bench.support.control_plane import NODE, Stored
from bench.support.envoys import TIMEOUT_S, ended, envoy, live
from bench.support.load import address_of
from control_plane.model import SensorSpec
from control_plane.store.records import SensorRecord
from ext_proc.worker.config import WorkerConfig
from gaugeway.nats_server import nats_server_binary, nats_server_config
from hyperv.model import Endpoint, MachineSource, MetricSpec
from wire.names import GATEWAY_LISTENER, audit_subject
from wire.status import ShardAudit

SHARDS: Final = 2  # as many as a new installation has
SERIES: Final = (("cpu_temperature", "Cel"), ("cpu_load", "%"), ("memory_used", "%"), ("disk_read", "By/s"))
SENSORS_A_HOST: Final = 100
POLL_S: Final = 0.05
_MAX_LINE: Final = 64 << 20
_T = TypeVar("_T")


def say(text: str) -> None:
    """Tell whoever waits."""
    print(text, file=sys.stderr, flush=True)


def sensor_id(number: int) -> str:
    """Return the id of a sensor."""
    return f"sensor-{number:06d}"


class Told:
    """A process that answers lines of JSON with lines of JSON."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def tell(self, *message: object) -> Any:
        """Return its answer. Raises RuntimeError when it has ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        async with asyncio.timeout(TIMEOUT_S):
            self.process.stdin.write(
                json.dumps(message[0] if len(message) == 1 else message).encode() + b"\n"
            )
            await self.process.stdin.drain()
            answer = await self.process.stdout.readline()
        if not answer:
            raise RuntimeError("a process of the benchmark has ended")
        return json.loads(answer)


@asynccontextmanager
async def told(module: str, *arguments: str) -> AsyncIterator[Told]:
    """Run such a process; it ends with its stdin."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_MAX_LINE,
    )
    try:
        yield Told(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await ended(process)


@dataclass(frozen=True, slots=True)
class Used:
    """CPU seconds of each process until a moment (monotonic s, Unix ns)."""

    at_s: float
    at_unix_ns: int
    cpu_s: dict[str, float]


class DataPath:
    """The running path.

    Attributes:
        load: The agents.
        nats: A connection.
        pids: Of each counted process.
    """

    def __init__(self, sensors: int, load: Told, client: Client, pids: dict[str, int]) -> None:
        self._sensors = sensors
        self.load = load
        self.nats = client
        self.pids = pids

    async def opened(self) -> float:
        """Wait until every stream is open; return how long that took (s)."""
        began = time.monotonic()
        while (await self.load.tell("opened", None))["open"] < self._sensors:
            if time.monotonic() - began > TIMEOUT_S:
                raise RuntimeError(f"streams: {await self.load.tell('opened', None)}")
            await asyncio.sleep(POLL_S)
        return time.monotonic() - began

    def used(self) -> Used:
        """Return what the processes have used until now."""
        times = {name: psutil.Process(pid).cpu_times() for name, pid in self.pids.items()}
        cpu_s = {name: each.user + each.system for name, each in times.items()}
        return Used(time.monotonic(), time.time_ns(), cpu_s)

    def rss_mb(self) -> dict[str, float]:
        """Return the memory of each process."""
        return {
            name: round(psutil.Process(pid).memory_info().rss / 1e6, 1) for name, pid in self.pids.items()
        }

    async def audits(self) -> list[ShardAudit]:
        """Ask the worker what became of every reading."""
        return [
            ShardAudit.model_validate_json((await self.nats.request(audit_subject(shard), timeout=30)).data)
            for shard in range(SHARDS)
        ]


@asynccontextmanager
async def data_path(folder: Path, sensors: int) -> AsyncIterator[DataPath]:
    """Run everything and assign the sensors; streams are being opened then."""
    _raise_limit()
    async with AsyncExitStack() as stack:
        load = await stack.enter_async_context(told("bench.support.load"))
        port = await load.tell([sensors, SERIES])
        nats_pid, nats_url = await stack.enter_async_context(_nats(folder / "nats"))
        plane = await stack.enter_async_context(told("bench.support.control_plane", str(SHARDS)))
        xds_port = await plane.tell(_fleet(sensors, port))
        envoy_pid, admin = await stack.enter_async_context(envoy(folder, NODE, xds_port))
        await live(admin, sensors)
        config = WorkerConfig(
            node_id=NODE,
            xds_address=f"127.0.0.1:{xds_port}",
            nats_url=nats_url,
            gateway_url="http://" + (await admin.listeners())[GATEWAY_LISTENER],
            ext_proc_socket=str(folder / "worker.sock"),
        )
        worker_pid = await stack.enter_async_context(_worker(folder, config))
        await plane.tell("connected", 2)
        client = await nats.connect(nats_url)
        stack.push_async_callback(client.close)
        yield DataPath(sensors, load, client, {"envoy": envoy_pid, "worker": worker_pid, "nats": nats_pid})


def _raise_limit() -> None:
    """Allow as many open files as may be; the processes inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _fleet(sensors: int, port: int) -> Stored:
    """Return sensors as the control plane writes them down."""
    stored: Stored = {}
    for number in range(sensors):
        spec = SensorSpec(
            id=sensor_id(number),
            host=f"host-{number // SENSORS_A_HOST:04d}",
            site="hall",
            metrics=tuple(MetricSpec(name=name, unit=unit) for name, unit in SERIES),
            source=MachineSource(),
        )
        endpoint = Endpoint(address=address_of(number), port=port)
        record = SensorRecord(spec=spec, created_unix_ns=time.time_ns())
        stored[spec.id] = record.model_dump_json(), endpoint.model_dump_json()
    return stored


@asynccontextmanager
async def _nats(folder: Path) -> AsyncIterator[tuple[int, str]]:
    """Run a NATS server that syncs each append to the disk; return its process id and URL."""
    folder.mkdir()  # noqa: ASYNC240 - nothing else runs yet
    config = folder / "nats.conf"
    config.write_text(nats_server_config(port=-1, data_dir=folder / "jetstream", ports_dir=folder))

    def url() -> str | None:
        text = "".join(file.read_text() for file in folder.glob("*.ports"))
        return json.loads(text)["nats"][0] if text else None

    async with _running(folder.with_suffix(".log"), str(nats_server_binary()), "-c", str(config)) as process:
        yield process.pid, await _until(url)


@asynccontextmanager
async def _worker(folder: Path, config: WorkerConfig) -> AsyncIterator[int]:
    """Run a worker; return its process id."""
    file, ready = folder / "worker.json", folder / "worker.ready"
    file.write_text(config.model_dump_json())
    command = (sys.executable, "-m", "gaugeway", "run", "worker")
    files = ("--config", str(file), "--ready-file", str(ready))
    async with _running(folder / "worker.log", *command, *files) as process:
        await _until(lambda: ready.exists() or None)
        yield process.pid


@asynccontextmanager
async def _running(log: Path, *command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(*command, stdout=out, stderr=out, env=os.environ)
    try:
        yield process
    finally:
        process.terminate()
        await ended(process)


async def _until(found: Callable[[], _T | None]) -> _T:
    async with asyncio.timeout(TIMEOUT_S):
        while (value := found()) is None:  # noqa: ASYNC110 - another program writes it
            await asyncio.sleep(POLL_S)
        return value


def shares(begin: Used, end: Used, names: Sequence[str]) -> dict[str, float]:
    """Return the CPU seconds that each process used in between."""
    return {name: round(end.cpu_s[name] - begin.cpu_s[name], 3) for name in names}
