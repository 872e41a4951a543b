"""Starts an installation's processes, keeps `up.json` current, ends them in order."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from gaugeway.files import write_json
from gaugeway.supervisor.errors import StartTimeoutError
from gaugeway.supervisor.installation import Facts, Installation, programs
from gaugeway.supervisor.process import Process

START_TIMEOUT_S: Final = 90.0


class Supervisor:
    """One machine's installation while it runs.

    Attributes:
        processes: In the order of starting.
        facts: The addresses, as they become known.
    """

    def __init__(
        self,
        installation: Installation,
        lock: int,
        say: Callable[[str], None],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`lock` is the descriptor that processes inherit; `say` gets sentences for people."""
        self.facts = Facts()
        self._installation = installation
        self._change = asyncio.Event()
        self._told = changed
        self._tasks: list[asyncio.Task[None]] = []
        layout = installation.layout
        self.processes: Sequence[Process] = [
            Process(program, layout.log(program.name), say=say, changed=self._changed, inherited=[lock])
            for program in programs(installation, self.facts)
        ]

    async def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start everything; returns once everything serves. Raises a SupervisorError."""
        self._installation.layout.make()
        self._tasks = [process.start() for process in self.processes]
        try:
            async with asyncio.timeout(timeout_s):
                while waiting := self._not_running():
                    await self._next_change()
        except TimeoutError as error:
            raise StartTimeoutError(waiting, timeout_s, self._installation.layout.logs) from error

    async def watch(self) -> None:
        """Wait for ever; raises a SupervisorError if a process can be kept no longer."""
        while True:
            await self._next_change()

    async def stop(self, ending: Callable[[Sequence[str]], None] = lambda _: None) -> None:
        """End everything in the opposite order of starting, sinks side by side; `ending` hears each step."""
        sinks = [process for process in self.processes if process.name.startswith("sink-")]
        others = [[process] for process in reversed(self.processes) if process not in sinks]
        for step in [sinks, *others]:
            ending([process.name for process in step])
            await asyncio.gather(*(process.stop() for process in step))
        self._installation.layout.up_file.unlink(missing_ok=True)

    def info(self) -> dict[str, Any]:
        """Return what scripts want to know: addresses, files, pids."""
        layout = self._installation.layout
        return {
            **self.facts.addresses(),
            "token_file": str(layout.token_file),
            "warehouse_dir": str(self._installation.warehouse_dir),
            "data_dir": str(layout.data_dir),
            "supervisor_pid": os.getpid(),
            "pids": {process.name: process.pid for process in self.processes if process.pid is not None},
        }

    def _not_running(self) -> list[str]:
        return [process.name for process in self.processes if process.state != "running"]

    async def _next_change(self) -> None:
        changing = asyncio.ensure_future(self._change.wait())
        try:
            await asyncio.wait({changing, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changing.cancel()
        for task in self._tasks:
            if task.done():
                task.result()
        self._change.clear()

    def _changed(self) -> None:
        self._change.set()
        write_json(self._installation.layout.up_file, self.info(), mode=0o600)
        self._told()
