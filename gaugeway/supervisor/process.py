"""One process under one name, kept running."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal, Protocol

from gaugeway.logs import in_words
from gaugeway.supervisor.errors import KeepsDyingError
from gaugeway.supervisor.restart import Again, GiveUp, RestartPolicy, Restarts

STOP_TIMEOUT_S: Final = 10.0
LAST_LINES: Final = 6
_TETHER: Final = str(Path(__file__).with_name("tether.py"))
_KEPT_LOG_BYTES: Final = 16 * 1024 * 1024

State = Literal["waiting", "starting", "running", "backoff", "stopped"]


class Program(Protocol):
    """What is run. Each method is called anew for every start."""

    @property
    def name(self) -> str:
        """The name for people, logs and `up.json`."""
        ...

    async def command(self) -> Sequence[str]:
        """Wait for what must be known before the start; return the absolute path and arguments."""
        ...

    async def standard_input(self) -> bytes:
        """Wait for what must be known after the start; return what is written to stdin, which then ends."""
        ...

    async def served(self, pid: int) -> str:
        """Return once the process `pid` serves; the text says where, for people."""
        ...


class Process:
    """Keeps one program running, and says what becomes of it.

    Attributes:
        state: `waiting` for what it needs, `starting`, `running` (it serves),
            `backoff` before the next start, `stopped`.
        pid: Of the running process, else of the last one.
        where: Where it serves, for people.
        since: When the state began, in seconds of the monotonic clock.
    """

    def __init__(
        self,
        program: Program,
        log: Path,
        *,
        say: Callable[[str], None],
        changed: Callable[[], None],
        inherited: Sequence[int] = (),
        policy: RestartPolicy | None = None,
    ) -> None:
        """`inherited` are file descriptors that the process keeps open."""
        self.name = program.name
        self.log = log
        self.state: State = "waiting"
        self.pid: int | None = None
        self.where = ""
        self.since = time.monotonic()
        self.restarts = Restarts(policy or RestartPolicy())
        self._program = program
        self._say = say
        self._changed = changed
        self._inherited = tuple(inherited)
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self) -> asyncio.Task[None]:
        """Begin to keep it running; the task ends with KeepsDyingError, or when it is stopped."""
        self._keeping = asyncio.create_task(self._keep(), name=self.name)
        return self._keeping

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End it: SIGTERM, and SIGKILL to its whole process group after `timeout_s`."""
        self._stopping = True
        process = self._process
        if process is not None and process.returncode is None:
            _signal(process.pid, signal.SIGTERM)
            try:
                async with asyncio.timeout(timeout_s):
                    await process.wait()
            except TimeoutError:
                self._say(f"{self.name} does not end within {timeout_s:g} s: killed (log: {self.log})")
                _kill_group(process.pid)
                await process.wait()
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        self._become("stopped")

    def last_lines(self, count: int = LAST_LINES) -> list[str]:
        """Return the last lines of its log, for people."""
        try:
            with self.log.open(errors="replace") as log:
                return [in_words(line.rstrip()) for line in deque(log, maxlen=count)]
        except FileNotFoundError:
            return []

    async def _keep(self) -> None:
        while True:
            self._become("waiting")
            command = await self._program.command()
            served_s, code = await self._run_once(command)
            if self._stopping:
                return
            await self._after_death(self.restarts.died(served_s), _how(code))

    async def _run_once(self, command: Sequence[str]) -> tuple[float | None, int]:
        """Run it to its end; return how long it served, None if it did not, and its exit code."""
        process = self._process = await self._spawn(command)
        self.pid = process.pid
        self._become("starting")
        serving = asyncio.create_task(self._serving(process))
        ended = asyncio.create_task(process.wait())
        try:
            await asyncio.wait({serving, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done() or ended.done():
                return None, await ended
            self.where = serving.result()
            self.restarts.served()
            self._become("running")
            began = self.since
            code = await ended
            return time.monotonic() - began, code
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            if process.returncode is None:
                _kill_group(process.pid)
            await ended

    async def _serving(self, process: asyncio.subprocess.Process) -> str:
        """Tell the process what it must know; return where it serves, once it does."""
        assert process.stdin is not None
        process.stdin.write(await self._program.standard_input())
        process.stdin.close()
        return await self._program.served(process.pid)

    async def _spawn(self, command: Sequence[str]) -> asyncio.subprocess.Process:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > _KEPT_LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", _TETHER, str(os.getpid())),
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=self._inherited,
                start_new_session=True,  # Ctrl-C in the terminal reaches the supervisor alone
            )

    async def _after_death(self, verdict: Again | GiveUp, how: str) -> None:
        if isinstance(verdict, GiveUp):
            self._become("stopped")
            raise KeepsDyingError(self.name, verdict.deaths, how, self.log, self.last_lines())
        self._become("backoff")
        text = f"{self.name} {how}: started again in {verdict.after_s:g} s"
        if verdict.troubled:
            text += f"; {verdict.deaths} times in a row now, and its log {self.log} ends so:"
            text += "".join(f"\n  {line}" for line in self.last_lines())
        self._say(text)
        await asyncio.sleep(verdict.after_s)

    def _become(self, state: State) -> None:
        self.state, self.since = state, time.monotonic()
        self._changed()


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
