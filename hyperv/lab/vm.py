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
_CONDEMNED = ".removed-"  # no sensor's id begins so
AGENT_PORT = 7070

log = structlog.get_logger(__name__)


class LabVmState(VmState):
    """A VM of the lab, with the process that plays it."""

    pid: int | None = None


class AddressRefusedError(ValueError):
    """A VM cannot be given an address; the text says which and why."""


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
        self._refusal: str | None = None
        self._settled = asyncio.Event()  # the agent serves where it should, or failed to
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
        self._state, self._incarnation, self._message = "starting", None, None
        self._settled.clear()
        self._task = asyncio.create_task(self._keep_running())

    async def wait_settled(self, timeout_s: float) -> None:
        """Wait until the agent serves or has failed, or `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), timeout_s)

    async def move(self, address: str, timeout_s: float) -> None:
        """Have the agent serve at another address; its open streams stay.

        Raises AddressRefusedError if it cannot serve there; then it stays where it was.
        """
        before = self.address
        if address == before:
            return
        self._move_to(address)
        await self.wait_settled(timeout_s)
        if self._refusal is not None:
            refusal, self._refusal = self._refusal, None
            self._move_to(before)
            raise AddressRefusedError(refusal)

    def _move_to(self, address: str) -> None:
        self.address = address
        self.save()
        self._settled.clear()
        self._direct()

    def _direct(self) -> None:
        """Tell a running agent where to serve, unless it does; one that starts is told when it serves."""
        if self._state != "running" or self._endpoint is None or self._process is None:
            return
        if self._endpoint.address == self.address:
            self._settled.set()
            return
        assert self._process.stdin is not None
        line = json.dumps({"listen": f"{self.address}:{self._endpoint.port}"})
        self._process.stdin.write(line.encode() + b"\n")

    async def stop(self) -> None:
        """Stop the agent in order; what it captured stays on disk."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def remove(self) -> None:
        """Stop the agent and delete the VM with its spool, also if that is cut short (`sweep`)."""
        await self.stop()
        condemned = self.folder.with_name(f"{_CONDEMNED}{self.vm_id}")
        self.folder.rename(condemned)
        await asyncio.to_thread(shutil.rmtree, condemned)

    async def _keep_running(self) -> None:
        backoff = _FIRST_BACKOFF_S
        while True:
            began = asyncio.get_running_loop().time()
            try:
                ended = f"the agent ended with {await self._run_once()} (see agent.log)"
            except OSError as error:
                ended = f"the agent cannot be started: {error}"
            lived = asyncio.get_running_loop().time() - began
            backoff = _FIRST_BACKOFF_S if lived > _STABLE_S else backoff
            self._state, self._incarnation = "failed", None
            self._message = f"{ended}; starting again in {backoff:g} s"
            log.warning("agent_died", sensor=self.spec.sensor_id, reason=ended, restart_in_s=backoff)
            self._settled.set()
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
                start_new_session=True,  # Ctrl-C is for the host, which stops its agents in order
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
        """Take what the agent reports (hyperv.guest.agent.run)."""
        if "refused" in report:
            self._refusal = str(report["refused"])
            self._settled.set()
            return
        self._endpoint = Endpoint.model_validate(report["endpoint"])
        self._incarnation = str(report["incarnation"])
        self._state, self._message = "running", None
        self._direct()
        self._changed()


def sweep(folder: Path) -> None:
    """Delete what is left in `folder` of VMs whose removal was cut short."""
    for condemned in folder.glob(f"{_CONDEMNED}*"):
        shutil.rmtree(condemned)


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
