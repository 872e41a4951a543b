"""Open streams through a real Envoy while everything else changes: none is reset."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from control_plane.resources.model import Resource
from hyperv.model import Endpoint
from tests.xds.altered import slower_cluster
from tests.xds.rig import Rig, line, rig
from tests.xds.support import Variant, Vm, eventually
from wire.names import STREAM_PATH, host_cluster

HELD = 200
HELD_HOSTS = 4
CHANGES = 100
BEFORE_TIMEOUTS_S = 4.0  # Envoy gives up waiting for what a cluster needs after 5 s


class Farm:
    """VMs on addresses of their own, 127.x.y.z, at one port: a program that knows who was called.

    Attributes:
        called: By address, how many streams were opened to it.
    """

    def __init__(self) -> None:
        self.port = 0
        self.called: dict[str, int] = {}
        self._streams: list[web.StreamResponse] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Open a stream that says its address and then what it is told to, until it ends."""
        assert request.transport is not None
        address = request.transport.get_extra_info("sockname")[0]
        self.called[address] = self.called.get(address, 0) + 1
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(f"{address}\n".encode())
        self._streams.append(response)
        await asyncio.Event().wait()
        return response

    async def say(self, text: str) -> None:
        """Send a line on every stream; those that are gone are noticed by who reads."""
        for stream in self._streams:
            with contextlib.suppress(ConnectionResetError):
                await stream.write(f"{text}\n".encode())

    def vm(self, address: str) -> Vm:
        """Return the VM at an address."""
        return Vm(address, Endpoint(address=address, port=self.port))


@asynccontextmanager
async def farm() -> AsyncIterator[Farm]:
    """Return a running farm on a port of the system's choosing, on every loopback address."""
    served = Farm()
    app = web.Application()
    app.router.add_get(STREAM_PATH, served.serve)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 0, backlog=1024).start()  # only loopback is called
    served.port = runner.addresses[0][1]
    try:
        yield served
    finally:
        await runner.cleanup()


@dataclass
class Others:
    """Sensors and hosts beside those whose streams are held; each step changes one thing of them."""

    farm: Farm
    hosts: dict[str, dict[str, Vm]]
    rng: random.Random = field(default_factory=lambda: random.Random(3))
    altered: dict[str, Resource] = field(default_factory=dict)
    _made: int = 0

    def step(self, number: int) -> None:
        """Add, remove or move a sensor or a host, or change a host's cluster."""
        kinds = [self.add, self.move, self.add_host, self.alter_host, self.add, self.remove, self.remove_host]
        kinds[number % len(kinds)]()

    def add(self) -> None:
        """Put a sensor on any host, also on those with streams."""
        self._made += 1
        address = f"127.9.{self._made // 250}.{self._made % 250 + 1}"
        self.hosts[self.rng.choice(sorted(self.hosts))][f"other-{self._made}"] = self.farm.vm(address)

    def remove(self) -> None:
        """Take one away."""
        host, sensor = self.rng.choice(self._sensors())
        del self.hosts[host][sensor]

    def move(self) -> None:
        """Put one on another host, at another address."""
        host, sensor = self.rng.choice(self._sensors())
        del self.hosts[host][sensor]
        self._made += 1
        vm = self.farm.vm(f"127.9.{self._made // 250}.{self._made % 250 + 1}")
        self.hosts[self.rng.choice(sorted(self.hosts.keys() - {host}))][sensor] = vm

    def add_host(self) -> None:
        """Bring up a host with two sensors."""
        self._made += 1
        vms = [self.farm.vm(f"127.8.{self._made}.{last}") for last in (1, 2)]
        self.hosts[f"extra-{self._made}"] = {f"new-{self._made}-{n}": vm for n, vm in enumerate(vms)}

    def alter_host(self) -> None:
        """Change the cluster of a host without held streams."""
        self._made += 1
        host = self.rng.choice(self._extra())
        self.altered[host] = slower_cluster(host, 10 + self._made)

    def remove_host(self) -> None:
        """Take a host away with all its sensors."""
        host = self.rng.choice(self._extra())
        del self.hosts[host]
        self.altered.pop(host, None)

    def _sensors(self) -> list[tuple[str, str]]:
        return [
            (host, sensor)
            for host, vms in sorted(self.hosts.items())
            for sensor in sorted(vms)
            if not sensor.startswith("held")
        ]

    def _extra(self) -> list[str]:
        return sorted(host for host in self.hosts if host.startswith("extra"))


async def opened(envoy: Rig, fleet: dict[str, dict[str, Vm]]) -> dict[str, aiohttp.ClientResponse]:
    """Open the stream of every sensor; return them by the address that each must be served from."""

    async def one(host: str, sensor: str, vm: Vm) -> tuple[str, aiohttp.ClientResponse]:
        stream = await envoy.open(host_cluster(host), sensor)
        assert (stream.status, await line(stream)) == (200, vm.name)
        return vm.name, stream

    each = [one(host, sensor, vm) for host, vms in fleet.items() for sensor, vm in vms.items()]
    return dict(await asyncio.gather(*each))


async def delivers(farm: Farm, streams: dict[str, aiohttp.ClientResponse], text: str) -> None:
    """See that a line arrives on every stream, and that no stream was opened twice."""
    await farm.say(text)
    heard = await asyncio.wait_for(asyncio.gather(*(line(stream) for stream in streams.values())), 20)
    assert heard == [text] * len(streams)
    assert farm.called == dict.fromkeys(streams, 1)


async def whole(envoy: Rig) -> None:
    """See in Envoy's own statistics that no stream or connection of the held ones ended."""
    pattern = r"^cluster\.host\.held-.*\.(upstream_rq_(rx|tx)_reset|upstream_cx_destroy_with_active_rq)$"
    resets = await envoy.stats(pattern)
    assert len(resets) == 3 * HELD_HOSTS
    assert not any(resets.values()), resets
    assert await envoy.stat("http.gateway.downstream_rq_active") == HELD
    assert await envoy.stat("http.gateway.downstream_cx_destroy_active_rq") == 0
    assert await envoy.stat("listener_manager.listener_modified") == 0


async def test_200_streams_outlive_100_changes_of_others(tmp_path: Path, variant: Variant) -> None:
    """Sensors and hosts come, go and move, also on the hosts of the held streams: every stream goes on."""
    async with farm() as served, rig(tmp_path, variant) as envoy:
        held: dict[str, dict[str, Vm]] = {f"held-{host}": {} for host in range(HELD_HOSTS)}
        for number in range(HELD):
            vm = served.vm(f"127.7.{number % HELD_HOSTS}.{number // HELD_HOSTS + 1}")
            held[f"held-{number % HELD_HOSTS}"][f"held-{number}"] = vm
        await envoy.settled(held)
        streams = await opened(envoy, held)
        others = Others(served, {host: dict(vms) for host, vms in held.items()})
        others.add_host()
        others.add()
        for number in range(CHANGES):
            others.step(number)
            await envoy.control.acked(envoy.publish(others.hosts, others.altered.values()))
            if number % 20 == 0:
                await delivers(served, streams, f"during change {number}")

        assert envoy.control.pushes() > CHANGES
        await delivers(served, streams, "after all of them")
        await whole(envoy)
        assert (await envoy.running()).sensors == {
            host_cluster(host): sorted(vms) for host, vms in others.hosts.items()
        }
        for stream in streams.values():
            stream.close()


async def test_streams_outlive_changes_that_come_faster_than_envoy_answers(
    tmp_path: Path, variant: Variant
) -> None:
    """A burst is coalesced to its newest state, and costs no stream either."""
    async with farm() as served, rig(tmp_path, variant) as envoy:
        held = {f"held-{host}": {f"held-{host}": served.vm(f"127.7.1.{host + 1}")} for host in range(4)}
        await envoy.settled(held)
        streams = await opened(envoy, held)
        others = Others(served, {host: dict(vms) for host, vms in held.items()}, random.Random(4))
        others.add_host()
        others.add()
        revision = 0
        for number in range(CHANGES):
            others.step(number)
            revision = envoy.publish(others.hosts, others.altered.values())
            if number % 10 == 0:
                await envoy.stat("server.live")  # gives the server's tasks a turn
        await envoy.control.acked(revision, timeout_s=BEFORE_TIMEOUTS_S)
        await delivers(served, streams, "after the burst")

        async def as_published() -> Any:
            expected = {host_cluster(host): sorted(vms) for host, vms in others.hosts.items()}
            return (await envoy.running()).sensors == expected

        await eventually("Envoy runs what was published last", as_published)
        for stream in streams.values():
            stream.close()
