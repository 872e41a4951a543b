"""The lab host's process: its inventory and its HTTP API."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from hyperv.lab.vm import AddressRefusedError, LabVm, sweep
from hyperv.model import VmSpec
from wire.ids import InvalidIdError, check_dns_label

SERVE_TIMEOUT_S = 10.0
_LONG_POLL_S = 30.0

log = structlog.get_logger(__name__)


class LabHostConfig(BaseModel):
    """A lab host: its API on 127.0.0.1, its VMs on addresses of `address_block`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host_id: str
    data_dir: Path
    port: int = 0
    address_block: ipaddress.IPv4Network = ipaddress.IPv4Network("127.20.0.0/16")


class MoveWish(BaseModel):
    """Where a VM is to serve; no address: wherever one is free."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: ipaddress.IPv4Address | None = None


class Lab:
    """The inventory. `version` rises with every change of any VM, and from run to run."""

    def __init__(self, config: LabHostConfig) -> None:
        self._config = config
        self._folder = config.data_dir / "vms"
        self.vms: dict[str, LabVm] = {}
        self.version = time.time_ns() // 1_000_000  # so that those who knew an earlier run see a change
        self._changed = asyncio.Condition()
        self._waking: set[asyncio.Task[None]] = set()
        self._locks: dict[str, asyncio.Lock] = {}

    def start(self) -> None:
        """Start the VMs that an earlier run wrote down.

        One that cannot be read is as good as lost: whoever wants it asks for it again.
        """
        sweep(self._folder)
        for file in sorted(self._folder.glob("*/vm.json")):
            try:
                vm = LabVm.load(file.parent, self.touch)
            except (ValueError, KeyError):
                log.exception("vm_unreadable", file=str(file))
                continue
            self.vms[vm.spec.sensor_id] = vm
            vm.start()

    async def stop(self) -> None:
        """Stop every agent; the inventory stays."""
        await asyncio.gather(*(vm.stop() for vm in self.vms.values()))

    def touch(self) -> None:
        """Say that something changed."""
        self.version += 1
        task = asyncio.ensure_future(self._notify())
        self._waking.add(task)
        task.add_done_callback(self._waking.discard)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def wait_change(self, after: int, timeout_s: float) -> int:
        """Wait until the version is another than `after`, at most `timeout_s`; return it."""
        async with self._changed:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait_for(lambda: self.version != after), timeout_s)
            return self.version

    def lock(self, sensor_id: str) -> asyncio.Lock:
        """Return the lock of a VM: one change of it at a time."""
        return self._locks.setdefault(sensor_id, asyncio.Lock())

    async def ensure(self, spec: VmSpec) -> LabVm:
        """Make the VM be as `spec` says; a changed spec restarts the agent over the same spool."""
        async with self.lock(spec.sensor_id):
            vm = self.vms.get(spec.sensor_id)
            if vm is None:
                vm = LabVm.new(self._folder / spec.sensor_id, spec, self._free_address(), self.touch)
                self.vms[spec.sensor_id] = vm
                vm.start()
                self.touch()
            elif vm.spec != spec:
                await vm.stop()
                vm.spec = spec
                vm.save()
                vm.start()
                self.touch()
            await vm.wait_settled(SERVE_TIMEOUT_S)
            return vm

    async def remove(self, sensor_id: str) -> None:
        """Remove the VM; nothing to do if there is none."""
        async with self.lock(sensor_id):
            vm = self.vms.pop(sensor_id, None)
            if vm is not None:
                await vm.remove()
                self.touch()

    async def move(self, sensor_id: str, address: str | None) -> LabVm:
        """Give the VM another address, a free one if none is named. Raises KeyError, AddressRefusedError."""
        async with self.lock(sensor_id):
            vm = self.vms[sensor_id]
            if address is not None:
                self._check_address(vm, address)
            await vm.move(address or self._free_address(), SERVE_TIMEOUT_S)
            return vm

    def _check_address(self, vm: LabVm, address: str) -> None:
        block = self._config.address_block
        if ipaddress.IPv4Address(address) not in block:
            raise AddressRefusedError(f"address {address} must be within {block}")
        for other in self.vms.values():
            if other is not vm and other.address == address:
                raise AddressRefusedError(f"address {address} is that of the VM of {other.spec.sensor_id}")

    def _free_address(self) -> str:
        used = {vm.address for vm in self.vms.values()}
        for address in self._config.address_block.hosts():
            if str(address) not in used:
                return str(address)
        raise AddressRefusedError(f"address block {self._config.address_block} is used up")


def _problem(status: int, detail: str) -> web.Response:
    problem = {"type": "about:blank", "title": "Refused", "status": status, "detail": detail}
    return web.json_response(problem, status=status, content_type="application/problem+json")


class LabApi:
    """HTTP over a Lab."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def app(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application()
        app.router.add_get("/vms", self._list)
        app.router.add_get("/vms/{sensor_id}", self._show)
        app.router.add_put("/vms/{sensor_id}", self._ensure)
        app.router.add_delete("/vms/{sensor_id}", self._remove)
        app.router.add_post("/vms/{sensor_id}/move", self._move)
        app.router.add_get("/events", self._events)
        return app

    async def _list(self, _: web.Request) -> web.Response:
        vms = [vm.state().model_dump(mode="json") for vm in self._lab.vms.values()]
        return web.json_response({"version": self._lab.version, "vms": vms})

    async def _show(self, request: web.Request) -> web.Response:
        vm = self._lab.vms.get(request.match_info["sensor_id"])
        if vm is None:
            return _problem(404, f"no VM of sensor {request.match_info['sensor_id']}")
        return web.json_response(vm.state().model_dump(mode="json"))

    async def _ensure(self, request: web.Request) -> web.Response:
        try:
            spec = VmSpec.model_validate_json(await request.read())
            check_dns_label("sensor_id", spec.sensor_id)
        except (ValidationError, InvalidIdError) as error:
            return _problem(422, str(error))
        if spec.sensor_id != request.match_info["sensor_id"]:
            return _problem(422, f"sensor_id must be {request.match_info['sensor_id']}, as in the path")
        try:
            vm = await self._lab.ensure(spec)
        except AddressRefusedError as error:
            return _problem(507, str(error))
        return web.json_response(vm.state().model_dump(mode="json"))

    async def _remove(self, request: web.Request) -> web.Response:
        await self._lab.remove(request.match_info["sensor_id"])
        return web.Response(status=204)

    async def _move(self, request: web.Request) -> web.Response:
        try:
            wish = MoveWish.model_validate_json(await request.read() or b"{}")
            vm = await self._lab.move(
                request.match_info["sensor_id"], str(wish.address) if wish.address is not None else None
            )
        except KeyError:
            return _problem(404, f"no VM of sensor {request.match_info['sensor_id']}")
        except (ValidationError, AddressRefusedError) as error:
            return _problem(422, str(error))
        return web.json_response(vm.state().model_dump(mode="json"))

    async def _events(self, request: web.Request) -> web.Response:
        try:
            after = int(request.query.get("after", "0"))
            timeout_s = min(float(request.query.get("timeout_s", _LONG_POLL_S)), _LONG_POLL_S)
        except ValueError:
            return _problem(422, "after and timeout_s must be numbers")
        if not timeout_s >= 0:
            return _problem(422, f"timeout_s {timeout_s} must be at least 0")
        return web.json_response({"version": await self._lab.wait_change(after, timeout_s)})


async def serve(config: LabHostConfig, ready: Callable[[dict[str, object]], None]) -> None:
    """Run the lab host until cancelled; its agents end with it."""
    lab = Lab(config)
    runner = web.AppRunner(LabApi(lab).app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", config.port)
    try:
        await site.start()
        lab.start()
        ready({"url": site_url(runner)})
        await asyncio.Event().wait()
    finally:
        await lab.stop()
        await runner.cleanup()


def site_url(runner: web.AppRunner) -> str:
    """Return the URL of the runner's first listening address."""
    host, port = runner.addresses[0][:2]
    return f"http://{host}:{port}"
