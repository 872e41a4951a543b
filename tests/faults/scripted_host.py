"""A hypervisor host whose VMs are there at once: those of the farms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from hyperv.lab.app import site_url
from hyperv.model import Endpoint, VmSpec, VmState


class ScriptedHost:
    """The lab host's HTTP API over VMs whose endpoints `endpoint_of` names."""

    def __init__(self, endpoint_of: Callable[[str], Endpoint]) -> None:
        self._endpoint_of = endpoint_of
        self._vms: dict[str, VmState] = {}
        self.url = ""

    def app(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application()
        app.router.add_get("/vms", self._list)
        app.router.add_put("/vms/{sensor_id}", self._ensure)
        app.router.add_get("/events", self._events)
        return app

    async def _list(self, _: web.Request) -> web.Response:
        vms = [vm.model_dump(mode="json") for vm in self._vms.values()]
        return web.json_response({"version": len(vms), "vms": vms})

    async def _ensure(self, request: web.Request) -> web.Response:
        return web.json_response(
            self.have(VmSpec.model_validate_json(await request.read())).model_dump(mode="json")
        )

    def have(self, spec: VmSpec) -> VmState:
        """Have the VM of a sensor, which runs; return its state."""
        state = VmState(
            vm_id=f"vm-{spec.sensor_id}",
            sensor_id=spec.sensor_id,
            spec_hash=spec.spec_hash(),
            state="running",
            endpoint=self._endpoint_of(spec.sensor_id),
            incarnation="1",
            message=None,
        )
        self._vms[spec.sensor_id] = state
        return state

    async def _events(self, request: web.Request) -> web.Response:
        after, patience = int(request.query["after"]), float(request.query["timeout_s"])
        for _ in range(int(min(patience, 30.0) / 0.5)):
            if len(self._vms) != after:
                break
            await asyncio.sleep(0.5)
        return web.json_response({"version": len(self._vms)})


@asynccontextmanager
async def scripted_host(endpoint_of: Callable[[str], Endpoint]) -> AsyncIterator[ScriptedHost]:
    """Return a running host."""
    host = ScriptedHost(endpoint_of)
    runner = web.AppRunner(host.app(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host.url = site_url(runner)
    try:
        yield host
    finally:
        await runner.cleanup()
