"""Keeping real processes running, and ending them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gaugeway.supervisor.errors import KeepsDyingError
from gaugeway.supervisor.process import Process
from gaugeway.supervisor.restart import RestartPolicy
from tests.support.processes import alive
from tests.support.stack import wait_for

QUICK = RestartPolicy(first_s=0.01, longest_s=0.05)

# Says its pid, then sleeps until SIGTERM.
SERVES = """
import os, pathlib, signal, sys
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
signal.sigwait([signal.SIGTERM])
"""
MASKED = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
# Has a child of its own, and does not listen.
STUBBORN = """
import os, pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()} {child.pid}")
time.sleep(60)
"""


@dataclass
class Script:
    """A Python program that serves once it has written a file."""

    code: str
    folder: Path
    name: str = "script"
    given: bytes = b""
    starts: list[int] = field(default_factory=list)

    @property
    def file(self) -> Path:
        """What it writes."""
        return self.folder / "served"

    async def command(self) -> list[str]:
        """Start it afresh."""
        self.file.unlink(missing_ok=True)
        return [sys.executable, "-c", self.code, str(self.file)]

    async def standard_input(self) -> bytes:
        """Give it what the test says."""
        return self.given

    async def served(self, pid: int) -> str:
        """Wait for its file."""
        while not self.file.exists() or not self.file.read_text():  # noqa: ASYNC110 - the child writes it
            await asyncio.sleep(0.005)
        self.starts.append(pid)
        return "here"


@dataclass
class Kept:
    """A process under test, and what was said of it."""

    process: Process
    script: Script
    said: list[str]
    change: asyncio.Event

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; it is judged at each change."""
        async with asyncio.timeout(20):
            while not condition():
                self.change.clear()
                await self.change.wait()


@contextlib.asynccontextmanager
async def kept(code: str, folder: Path, given: bytes = b"") -> AsyncIterator[Kept]:
    """Keep a script; stopped at the end."""
    said: list[str] = []
    script, change = Script(code, folder, given=given), asyncio.Event()
    process = Process(script, folder / "script.log", say=said.append, changed=change.set, policy=QUICK)
    try:
        yield Kept(process, script, said, change)
    finally:
        await process.stop(timeout_s=5)


async def test_a_process_serves_and_is_ended_in_order(tmp_path: Path) -> None:
    """SIGTERM is its word to end; nothing is said of it."""
    async with kept(MASKED + SERVES, tmp_path) as it:
        it.process.start()
        await it.until(lambda: it.process.state == "running")
        pid = it.process.pid
        assert pid is not None
        assert it.script.file.read_text() == str(pid), "the process is the program itself"
        assert it.process.where == "here"
        await it.process.stop()
        assert it.process.state == "stopped"
        assert not alive([pid])
        assert it.said == []


async def test_a_process_has_a_session_of_its_own(tmp_path: Path) -> None:
    """Ctrl-C in a terminal reaches the supervisor's group alone."""
    async with kept(MASKED + SERVES, tmp_path) as it:
        it.process.start()
        await it.until(lambda: it.process.state == "running")
        assert it.process.pid is not None
        assert os.getsid(it.process.pid) == it.process.pid
        assert os.getpgid(it.process.pid) != os.getpgid(0)


async def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    """A sentence says how it ended; another process serves soon after."""
    async with kept(MASKED + SERVES, tmp_path) as it:
        it.process.start()
        await it.until(lambda: it.process.state == "running")
        first = it.process.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await it.until(lambda: len(it.script.starts) == 2 and it.process.state == "running")
        assert it.process.pid != first
        assert it.said == ["script was ended by SIGKILL: started again in 0.01 s"]
        assert it.process.restarts.total == 1


async def test_what_it_must_know_comes_on_stdin(tmp_path: Path) -> None:
    """Stdin has the text and then ends."""
    code = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read()); time.sleep(60)"
    async with kept(code, tmp_path, given=b'{"answer": 42}') as it:
        it.process.start()
        await it.until(lambda: it.process.state == "running")
        assert it.script.file.read_text() == '{"answer": 42}'


async def test_who_never_serves_ends_the_supervisor(tmp_path: Path) -> None:
    """After three deaths the error has the name, the exit code, the log and its last lines."""
    async with kept("import sys; print('no such thing', file=sys.stderr); sys.exit(3)", tmp_path) as it:
        with pytest.raises(KeepsDyingError) as error:
            await it.process.start()
    text = str(error.value)
    assert text.startswith("script ended with exit code 3, 3 times in a row, and never served; its log is ")
    assert str(tmp_path / "script.log") in text
    assert text.endswith("  no such thing")
    assert len(it.said) == 2


async def test_a_long_line_of_a_log_is_shortened(tmp_path: Path) -> None:
    """A traceback on one line is a page: people get its beginning, the log has all of it."""
    async with kept("import sys; print('why' + 10_000 * '.'); sys.exit(1)", tmp_path) as it:
        with pytest.raises(KeepsDyingError) as error:
            await it.process.start()
    last = str(error.value).splitlines()[-1].strip()
    assert last.startswith("why...")
    assert last.endswith(". ...")
    assert len(last) < 600


async def test_who_served_and_keeps_dying_is_shown_with_its_log(tmp_path: Path) -> None:
    """It is started again for ever; from the third death in a row on its last lines are said too."""
    code = (
        "import pathlib, sys, time\n"
        "pathlib.Path(sys.argv[1]).write_text('x'); time.sleep(0.05); sys.exit('gone')"
    )
    async with kept(code, tmp_path) as it:
        it.process.start()
        await it.until(lambda: len(it.said) >= 3)
        assert "3 times in a row now" in it.said[2]
        assert it.said[2].endswith("  gone")
        assert "in a row" not in it.said[1]


async def test_who_does_not_listen_is_killed_with_its_children(tmp_path: Path) -> None:
    """After the bound its whole process group gets SIGKILL."""
    async with kept(STUBBORN, tmp_path) as it:
        it.process.start()
        await it.until(lambda: it.process.state == "running")
        pids = [int(word) for word in it.script.file.read_text().split()]
        assert len(alive(pids)) == 2
        await it.process.stop(timeout_s=0.2)
        assert it.said == [f"script does not end within 0.2 s: killed (log: {tmp_path / 'script.log'})"]
        assert await asyncio.to_thread(wait_for, "both are gone", lambda: not alive(pids), 5.0)


async def test_stopping_a_process_that_waits_for_what_it_needs(tmp_path: Path) -> None:
    """What was never started ends at once."""

    class Waiting(Script):
        async def command(self) -> list[str]:
            await asyncio.Event().wait()
            raise AssertionError

    process = Process(Waiting("", tmp_path), tmp_path / "log", say=print, changed=lambda: None)
    task = process.start()
    await asyncio.sleep(0)
    await process.stop()
    assert task.cancelled()


SUPERVISOR = """
import asyncio, pathlib, sys
from tests.supervisor.test_process import MASKED, SERVES, Script
from gaugeway.supervisor.process import Process
async def main():
    folder = pathlib.Path(sys.argv[1])
    await Process(Script(SERVES, folder), folder / "log", say=print, changed=lambda: None).start()
asyncio.run(main())
"""


def test_a_supervisor_that_is_killed_leaves_no_orphan(tmp_path: Path) -> None:
    """SIGKILL of the supervisor ends what it started: the kernel tells them."""
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(tmp_path)], cwd=Path(__file__).parents[2]
    )
    served = tmp_path / "served"
    try:
        wait_for("the child serves", lambda: served.exists() and served.read_text(), 20)
        pid = int(served.read_text())
        assert alive([pid])
    finally:
        supervisor.kill()
        supervisor.wait()
    wait_for("the child is gone", lambda: not alive([pid]), 5)
