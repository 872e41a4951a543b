"""One VM of the lab: an agent process, restarted when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import structlog

from hyperv.model import Endpoint, VmSpec, VmState

_FIRST_BACKOFF_S = 0.1
_LAST_BACKOFF_S = 5.0
_STABLE_S = 10.0
_STOP_S = 5.0
AGENT_PORT = 7070

log = structlog.get_logger(__name__)


class LabVmState(VmState):
    """A VM of the lab, with the process that plays it."""

    pid: int | None = None


class LabVm:
    """Runs one agent over `folder` (vm.json, spec.json, spool/, agent.log)."""

    def __init__(
        self, folder: Path, spec: VmSpec, address: str, vm_id: str, changed: Callable[[], None]
    ) -> None:
        self.folder = folder
        self.spec = spec
        self.address = address
        self.vm_id = vm_id
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._endpoint: Endpoint | None = None
        self._incarnation: str | None = None
        self._state: Literal["starting", "running", "failed"] = "starting"
        self._message: str | None = None
        self._served = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def new(cls, folder: Path, spec: VmSpec, address: str, changed: Callable[[], None]) -> LabVm:
        """Make a VM that did not exist and write it down."""
        vm = cls(folder, spec, address, str(uuid.uuid4()), changed)
        vm.save()
        return vm

    @classmethod
    def load(cls, folder: Path, changed: Callable[[], None]) -> LabVm:
        """Read back a VM that an earlier run wrote down."""
        saved = json.loads((folder / "vm.json").read_text())
        return cls(folder, VmSpec.model_validate(saved["spec"]), saved["address"], saved["vm_id"], changed)

    def save(self) -> None:
        """Write the VM down, atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        saved = {"vm_id": self.vm_id, "address": self.address, "spec": self.spec.model_dump(mode="json")}
        for name, text in (("spec.json", self.spec.model_dump_json()), ("vm.json", json.dumps(saved))):
            temporary = self.folder / (name + ".new")
            temporary.write_text(text)
            temporary.rename(self.folder / name)

    def state(self) -> LabVmState:
        """Return what the host says of this VM."""
        return LabVmState(
            vm_id=self.vm_id,
            sensor_id=self.spec.sensor_id,
            spec_hash=self.spec.spec_hash(),
            state=self._state,
            endpoint=self._endpoint,
            incarnation=self._incarnation,
            message=self._message,
            pid=self._process.pid if self._process is not None else None,
        )

    def start(self) -> None:
        """Start the agent and keep it running."""
        self._task = asyncio.create_task(self._keep_running())

    async def wait_served(self, timeout_s: float) -> None:
        """Wait until the agent serves, or `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._served.wait(), timeout_s)

    async def move(self, address: str, timeout_s: float) -> None:
        """Have the running agent serve at another address; its open streams stay."""
        self.address = address
        self.save()
        if self._process is not None and self._process.stdin is not None and self._endpoint is not None:
            self._served.clear()
            port = self._endpoint.port
            self._process.stdin.write(json.dumps({"listen": f"{address}:{port}"}).encode() + b"\n")
            await self.wait_served(timeout_s)

    async def stop(self) -> None:
        """Stop the agent in order; what it captured stays on disk."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def remove(self) -> None:
        """Stop the agent and delete the VM with its spool."""
        await self.stop()
        await asyncio.to_thread(shutil.rmtree, self.folder)

    async def _keep_running(self) -> None:
        backoff = _FIRST_BACKOFF_S
        while True:
            began = asyncio.get_running_loop().time()
            code = await self._run_once()
            lived = asyncio.get_running_loop().time() - began
            backoff = _FIRST_BACKOFF_S if lived > _STABLE_S else backoff
            self._state, self._incarnation = "failed", None
            self._message = f"the agent ended with {code}; starting again in {backoff:g} s (see agent.log)"
            log.warning("agent_died", sensor=self.spec.sensor_id, code=code, restart_in_s=backoff)
            self._changed()
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _LAST_BACKOFF_S)

    async def _run_once(self) -> int:
        port = self._endpoint.port if self._endpoint is not None else AGENT_PORT
        with (self.folder / "agent.log").open("ab") as agent_log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "hyperv.guest", "serve"),
                *("--spool", str(self.folder / "spool"), "--spec", str(self.folder / "spec.json")),
                *("--listen", f"{self.address}:{port}"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=agent_log,
            )
        self._process = process
        try:
            assert process.stdout is not None
            while line := await process.stdout.readline():
                self._heard(json.loads(line))
            return await process.wait()
        finally:
            await _end(process)
            self._process = None

    def _heard(self, report: dict[str, object]) -> None:
        self._endpoint = Endpoint.model_validate(report["endpoint"])
        self._incarnation = str(report["incarnation"])
        self._state, self._message = "running", None
        self._served.set()
        self._changed()


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process by closing its stdin (its word for stop), by SIGKILL if it does not listen."""
    if process.returncode is not None:
        return
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), _STOP_S)
    except TimeoutError:
        process.kill()
        await process.wait()
