"""The agent's process: captures, commits every flush, serves streams over HTTP."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Final

from hyperv.guest.capture import Capture, make_capture
from hyperv.guest.http import HttpServer, Query, Response, json_response, problem
from hyperv.guest.segments import Captured
from hyperv.guest.spec import AgentSpec
from hyperv.guest.spool import Spool, SpoolBusyError, SpoolReader
from wire.frames import delimit
from wire.gen.gaugeway.readings.v1 import readings_pb2
from wire.ids import InvalidIdError, parse_after
from wire.names import FRAMES_CONTENT_TYPE, STREAM_PATH

HEARTBEAT_S: Final = 1.0
_BYTES_A_WRITE: Final = 256 * 1024
_SPOOL_RETRY_S: Final = 0.05

Address = tuple[str, int]
"""(IP address, port)."""


class Agent:
    """One sensor's agent over one spool."""

    def __init__(self, spec: AgentSpec, spool: Spool) -> None:
        self.spec = spec
        self.spool = spool
        self.incarnation = secrets.token_hex(8)
        self._committed = asyncio.Condition()
        self._spool_lock = asyncio.Lock()  # one writer or one reader in the spool at a time
        self._server = HttpServer({STREAM_PATH: self._stream, "/healthz": self._health})
        self._served_at: Address | None = None

    async def listen(self, address: str, port: int) -> Address:
        """Serve at `address` and return where: a busy port is replaced by a free one. Open streams stay.

        Raises OSError if the address is not this machine's.
        """
        if self._served_at != (address, port):
            self._served_at = address, await self._server.listen(address, port)
        return self._served_at

    async def capture(self) -> None:
        """Capture and commit until cancelled; a capture in hand is committed then."""
        source = make_capture(self.spec, self.spool.captured, self.spool.last_time_unix_ns(), time.time_ns())
        pending: list[Captured] = []
        flush_ns = self.spec.flush_ms * 1_000_000
        flush_at = time.time_ns() + flush_ns
        try:
            while True:
                await asyncio.sleep(_pause_s(source, flush_at, bool(pending)))
                pending += source.due(time.time_ns())
                if pending and time.time_ns() >= flush_at:
                    batch, pending = pending, []
                    await asyncio.shield(self._commit(batch))
                    flush_at = time.time_ns() + flush_ns
        finally:
            self.spool.commit(pending)

    async def close(self) -> None:
        """Stop serving; a commit in hand is finished."""
        await self._server.close()
        async with self._spool_lock:
            self.spool.close()

    async def _commit(self, batch: list[Captured]) -> None:
        async with self._spool_lock:
            await asyncio.to_thread(self.spool.commit, batch)
        async with self._committed:
            self._committed.notify_all()

    async def _health(self, _: Query) -> Response:
        return json_response(
            {"sensor_id": self.spec.sensor_id, "incarnation": self.incarnation, "head_seq": self.spool.head}
        )

    async def _stream(self, query: Query) -> Response:
        try:
            reader = await self._reader(query.get("after"))
        except InvalidIdError as error:
            return problem(HTTPStatus.BAD_REQUEST, str(error))
        return Response(HTTPStatus.OK, FRAMES_CONTENT_TYPE, self._frames(reader))

    async def _reader(self, cursor: str | None) -> SpoolReader:
        """Return a reader of what follows a cursor; begin a new epoch if it cannot be ours."""
        epoch, seq = parse_after(cursor) if cursor is not None else (0, 0)
        async with self._spool_lock:
            if epoch != self.spool.epoch:
                return self.spool.reader(0)
            if not self.spool.told(seq):
                await asyncio.to_thread(self.spool.begin_epoch)
                seq = 0
            reader = self.spool.reader(seq)
        if seq == 0:
            async with self._committed:
                self._committed.notify_all()  # streams of the epoch before end
        return reader

    async def _frames(self, reader: SpoolReader) -> AsyncGenerator[bytes]:
        """Yield delimited frames: a heartbeat, then what follows the cursor as it is committed.

        Ends if another follower made a new epoch begin: this one then asks again.
        """
        yield self._heartbeat()
        while True:
            async with self._spool_lock:
                if reader.epoch != self.spool.epoch:
                    return
                data = await asyncio.to_thread(_read_some, reader)
            if data:
                yield data
                continue
            async with self._committed:
                try:
                    await asyncio.wait_for(
                        self._committed.wait_for(lambda: not reader.at_head or reader.ended), HEARTBEAT_S
                    )
                except TimeoutError:
                    pass
                else:
                    continue
            if not reader.ended:
                yield self._heartbeat()

    def _heartbeat(self) -> bytes:
        beat = readings_pb2.Heartbeat(
            epoch=self.spool.epoch, head_seq=self.spool.head, time_unix_ns=time.time_ns()
        )
        return delimit(readings_pb2.Frame(heartbeat=beat).SerializeToString())


def _read_some(reader: SpoolReader) -> bytes:
    frames: list[bytes] = []
    size = 0
    while size < _BYTES_A_WRITE and (frame := reader.read()) is not None:
        frames.append(delimit(frame.SerializeToString()))
        size += len(frames[-1])
    return b"".join(frames)


def _pause_s(source: Capture, flush_at_unix_ns: int, pending: bool) -> float:
    until = min(source.next_due_unix_ns(), flush_at_unix_ns) if pending else source.next_due_unix_ns()
    return min(max(until - time.time_ns(), 0) / 1e9, 3600.0)


async def run(
    spec: AgentSpec,
    spool_dir: Path,
    listen: Address,
    commands: asyncio.StreamReader,
    report: Callable[[str], None],
) -> None:
    """Run an agent until `commands` ends; each line of it is a JSON command.

    {"listen": "ADDR:PORT"} moves the listening socket. Where it serves is
    reported as a JSON line, {"endpoint": {...}, "incarnation": ...}; that it
    cannot move there, as {"refused": why}, and it stays where it was.
    """
    spool = await _open_spool(spool_dir, spec.spool_bytes, commands)
    if spool is None:
        return
    agent = Agent(spec, spool)

    def tell(served_at: Address) -> None:
        endpoint = dict(zip(("address", "port"), served_at, strict=True))
        report(json.dumps({"endpoint": endpoint, "incarnation": agent.incarnation}))

    capture = asyncio.create_task(agent.capture())
    tasks = [capture]
    try:
        tell(await agent.listen(*listen))
        tasks.append(asyncio.create_task(_obey(agent, commands, tell, report)))
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await agent.close()


async def _open_spool(folder: Path, limit_bytes: int, commands: asyncio.StreamReader) -> Spool | None:
    """Open the spool, waiting for an agent that still ends; None if `commands` ended before."""
    while not commands.at_eof():
        try:
            return await asyncio.to_thread(Spool, folder, limit_bytes)
        except SpoolBusyError:
            await asyncio.sleep(_SPOOL_RETRY_S)
    return None


async def _obey(
    agent: Agent,
    commands: asyncio.StreamReader,
    tell: Callable[[Address], None],
    report: Callable[[str], None],
) -> None:
    while line := await commands.readline():
        address, _, port = str(json.loads(line)["listen"]).rpartition(":")
        try:
            tell(await agent.listen(address, int(port)))
        except OSError as error:
            report(json.dumps({"refused": f"the agent cannot serve at {address}: {error.strerror}"}))
