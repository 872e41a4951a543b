"""Agents and lab hosts as processes of their own, and a follower that checks what it is served."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from hyperv.guest.segments import Captured, decode_batch
from hyperv.lab.app import LabHostConfig
from hyperv.model import MachineSource, MetricSpec, ReplaySource, VmSpec
from wire.frames import FrameSplitter
from wire.gen.gaugeway.readings.v1 import readings_pb2
from wire.ids import format_after
from wire.names import STREAM_PATH

WAIT_S = 20.0
REPLAY = ReplaySource(recording="machine_temperature", speed=30_000)  # a reading every 10 ms


def replay_spec(sensor_id: str = "press-1", **changes: Any) -> VmSpec:
    """Return a fast replay that flushes often."""
    fields: dict[str, Any] = {
        "sensor_id": sensor_id,
        "metrics": (MetricSpec(name="temperature", unit="[degF]"),),
        "source": REPLAY,
        "flush_ms": 20,
    }
    return VmSpec(**fields | changes)


def machine_spec(sensor_id: str = "host-1") -> VmSpec:
    """Return a sensor of this machine."""
    metrics = (MetricSpec(name="memory_used", unit="%"), MetricSpec(name="net_receive", unit="By/s"))
    return VmSpec(sensor_id=sensor_id, metrics=metrics, source=MachineSource(interval_ms=20), flush_ms=20)


async def wait_for(what: str, probe: Callable[[], Awaitable[bool] | bool], timeout_s: float = WAIT_S) -> None:
    """Wait until `probe` says so; fail with `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = probe()
        if answer is True or (isinstance(answer, Awaitable) and await answer):
            return
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        await asyncio.sleep(0.01)


@dataclass
class AgentProcess:
    """One agent over `folder`, which outlives it."""

    folder: Path
    spec: VmSpec
    process: asyncio.subprocess.Process | None = field(default=None, repr=False)
    address: str = "127.0.0.1"
    port: int = 0
    incarnation: str = ""

    @property
    def spool(self) -> Path:
        """The spool's folder."""
        return self.folder / "spool"

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://{self.address}:{self.port}"

    async def start(self) -> None:
        """Start it and wait until it serves."""
        await self.spawn()
        await self.hear()

    async def spawn(self) -> None:
        """Start it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        spec = self.folder / "spec.json"
        spec.write_text(self.spec.model_dump_json())
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hyperv.guest", "serve", "--spec", str(spec)),
            *("--spool", str(self.spool), "--listen", f"{self.address}:{self.port}"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )

    async def hear(self) -> dict[str, Any]:
        """Return its next report, and take its endpoint over."""
        assert self.process is not None
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), WAIT_S)
        report: dict[str, Any] = json.loads(line)
        if "endpoint" in report:
            self.address, self.port = report["endpoint"]["address"], report["endpoint"]["port"]
            self.incarnation = report["incarnation"]
        return report

    async def move(self, address: str, port: int) -> dict[str, Any]:
        """Tell it to serve elsewhere; return what it reports."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"listen": f"{address}:{port}"}).encode() + b"\n")
        return await self.hear()

    async def stop(self) -> int:
        """End its stdin; return its exit code."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.close()
        return await asyncio.wait_for(self.process.wait(), WAIT_S)

    async def kill(self) -> None:
        """SIGKILL it, if it runs."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@asynccontextmanager
async def agent(folder: Path, spec: VmSpec) -> AsyncIterator[AgentProcess]:
    """Return a running agent."""
    running = AgentProcess(folder, spec)
    try:
        await running.start()
        yield running
    finally:
        await running.kill()


@dataclass
class Follower:
    """Follows one agent, whatever becomes of its streams; fails on anything that is not in sequence.

    Attributes:
        epochs: Epochs in the order in which they came.
        readings: By (epoch, seq).
        gaps: As they came.
        first_frames: What kind each stream began with.
    """

    session: aiohttp.ClientSession
    epochs: list[int] = field(default_factory=list)
    readings: dict[tuple[int, int], Captured] = field(default_factory=dict)
    gaps: list[readings_pb2.Gap] = field(default_factory=list)
    first_frames: list[str] = field(default_factory=list)
    seq: int = 0

    @property
    def after(self) -> str | None:
        """The cursor to ask with."""
        return format_after(self.epochs[-1], self.seq) if self.epochs else None

    async def follow(self, url: str, until: Callable[[], bool], after: str | None = None) -> None:
        """Follow from the cursor, or from `after`, until `until` holds; fails if the stream ends before."""
        await asyncio.wait_for(self._follow(url, until, after or self.after), WAIT_S)

    async def follow_readings(self, url: str, count: int) -> None:
        """Follow until `count` more readings came."""
        target = len(self.readings) + count
        await self.follow(url, lambda: len(self.readings) >= target)

    async def _follow(self, url: str, until: Callable[[], bool], after: str | None) -> None:
        query = {"after": after} if after else {}
        async with self.session.get(url + STREAM_PATH, params=query) as response:
            assert response.status == 200, await response.text()
            splitter, first = FrameSplitter(), True
            async for data in response.content.iter_any():
                for raw in splitter.feed(data):
                    frame = readings_pb2.Frame.FromString(raw)
                    if first:
                        self.first_frames.append(frame.WhichOneof("kind") or "")
                        first = False
                    self.take(frame)
                if until():
                    return
        raise AssertionError("the stream ended")

    def take(self, frame: readings_pb2.Frame) -> None:
        """Take one frame."""
        match frame.WhichOneof("kind"):
            case "readings":
                batch = frame.readings
                self._advance(batch.epoch, batch.first_seq, batch.first_seq + batch.count - 1)
                for seq, reading in enumerate(decode_batch(batch), start=batch.first_seq):
                    self.readings[batch.epoch, seq] = reading
            case "gap":
                self._advance(frame.gap.epoch, frame.gap.first_seq, frame.gap.last_seq)
                self.gaps.append(frame.gap)
            case "heartbeat":
                assert frame.heartbeat.epoch
                assert abs(frame.heartbeat.time_unix_ns - time.time_ns()) < 60 * 10**9
            case other:
                raise AssertionError(f"a frame of kind {other}")

    def _advance(self, epoch: int, first: int, last: int) -> None:
        if not self.epochs or self.epochs[-1] != epoch:
            assert epoch not in self.epochs, "an old epoch came again"
            self.epochs.append(epoch)
            self.seq = 0
        assert first == self.seq + 1, f"{first} does not follow {self.seq}"
        assert last >= first
        self.seq = last

    def values(self) -> list[float]:
        """Return all values in the order in which they came."""
        return [reading.value for reading in self.readings.values()]


async def dumped(spool: Path) -> dict[tuple[int, int], Captured]:
    """Return what the agent's own `dump` command says a spool holds."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hyperv.guest", "dump", "--spool", str(spool)), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    found: dict[tuple[int, int], Captured] = {}
    for row in map(json.loads, out.splitlines()):
        key = int(row.pop("epoch"), 16), row.pop("seq")
        found[key] = Captured(**row)
    return found


@dataclass
class LabProcess:
    """A lab host over `config.data_dir`, which outlives it."""

    config: LabHostConfig
    process: asyncio.subprocess.Process | None = field(default=None, repr=False)
    url: str = ""

    async def start(self) -> None:
        """Start it and wait until it serves."""
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.hyperv.lab_process", self.config.model_dump_json()),
            stdout=asyncio.subprocess.PIPE,
        )
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), WAIT_S)
        self.url = json.loads(line)["url"]

    async def stop(self) -> None:
        """SIGTERM it and wait."""
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            await asyncio.wait_for(self.process.wait(), WAIT_S)

    async def kill(self) -> None:
        """SIGKILL it."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()
