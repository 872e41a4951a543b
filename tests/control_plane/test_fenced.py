"""What a control plane does that does not lead any more: nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from control_plane.api.standby import while_leading
from control_plane.fenced import FencedCache, FencedDriver
from control_plane.model import StoreUnavailableError
from control_plane.resources.model import new_resource, new_snapshot
from control_plane.store.connection import nats_connection
from control_plane.store.desired import DesiredState
from control_plane.xds.messages import Request
from control_plane.xds.node import Node
from hyperv.errors import RetryableHostError
from hyperv.model import Endpoint, VmSpec, VmState
from tests.control_plane.sim import spec
from tests.control_plane.test_desired import HOSTS
from tests.support.nats import NatsServer
from tests.xds.support import NODE, eventually
from wire.names import CLUSTER_TYPE


class Lead:
    """Leads, or not, as the test says."""

    def __init__(self) -> None:
        self.held = True

    def __call__(self) -> bool:
        """Return whether it does."""
        return self.held


@dataclass
class Host:
    """A host that notes what it was asked to do."""

    asked: list[str] = field(default_factory=list)

    async def inventory(self) -> list[VmState]:
        """See HostDriver."""
        return []

    async def ensure(self, spec: VmSpec) -> VmState:
        """See HostDriver."""
        self.asked.append(f"ensure {spec.sensor_id}")
        raise RetryableHostError("lab", "it is a double")

    async def remove(self, sensor_id: str) -> None:
        """See HostDriver."""
        self.asked.append(f"remove {sensor_id}")

    async def wait_change(self, after: int, timeout_s: float) -> int:  # noqa: ARG002 - HostDriver's
        """See HostDriver."""
        return after

    async def close(self) -> None:
        """See HostDriver."""
        self.asked.append("close")


async def test_hosts_are_read_and_not_changed() -> None:
    """The check is made at the call itself: it may have been decided on long before."""
    lead, host = Lead(), Host()
    driver = FencedDriver("lab", host, lead)
    await driver.remove("press-1")
    with pytest.raises(RetryableHostError, match="double"):
        await driver.ensure(spec("press-2").vm_spec())
    lead.held = False
    for act in (driver.remove("press-1"), driver.ensure(spec("press-2").vm_spec())):
        with pytest.raises(RetryableHostError, match="does not lead"):
            await act
    assert (await driver.inventory(), await driver.wait_change(3, 1.0)) == ([], 3)
    await driver.close()
    assert host.asked == ["remove press-1", "ensure press-2", "close"]


def test_streams_are_ended_instead_of_written_to() -> None:
    """Though there is something to send."""
    lead = Lead()
    cache = FencedCache(lead)
    connection = cache.connect(Node(NODE, {}))
    cache.receive(connection, Request(type_url=CLUSTER_TYPE, subscribe=("*",)))
    lead.held = False
    cache.publish(NODE, new_snapshot([new_resource(CLUSTER_TYPE, "host.lab", b"")], [CLUSTER_TYPE]), 1)
    assert cache.take(connection) == []
    assert connection.ended == "this control plane does not lead any more"


async def test_nothing_is_written(nats_server: NatsServer) -> None:
    """Neither by a call that begins now, nor over what another one has written meanwhile."""
    lead = Lead()
    async with (
        nats_connection(nats_server.url, "one") as first,
        nats_connection(nats_server.url, "two") as last,
    ):
        one, two = DesiredState(first, lambda: None, lead), DesiredState(last, lambda: None)
        async with one.watched(), two.watched():
            await one.install(2, HOSTS)
            lead.held = False
            for write in (
                one.add_sensor(spec("press-1"), 1),
                one.put_endpoint("press-1", Endpoint(address="127.20.0.1", port=1)),
                one.claim_lease(0, "node-1", 1, 0),
                one.install(2, [HOSTS[0].model_copy(update={"url": "http://127.0.0.1:1"})]),
            ):
                with pytest.raises(StoreUnavailableError, match="does not lead"):
                    await write

            async def seen() -> bool:
                return bool(two.hosts)

            await eventually("the other one has seen the host", seen)
            assert (two.sensors, two.endpoints, two.leases) == ({}, {}, {})
            assert two.hosts["lab"].url == HOSTS[0].url


async def test_requests_are_refused(tmp_path: Path) -> None:
    """Also those that were waiting while the process was stopped."""
    lead = Lead()

    async def served(_: web.Request) -> web.Response:
        return web.Response(text="served")

    app = web.Application(middlewares=[while_leading("control-a", lead)])
    app.router.add_get("/", served)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(tmp_path / "api")).start()
        connector = aiohttp.UnixConnector(str(tmp_path / "api"))
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.get("http://api/") as response:
                assert (response.status, await response.text()) == (200, "served")
            lead.held = False
            async with session.get("http://api/") as response:
                problem = await response.json(content_type="application/problem+json")
                assert (response.status, problem["type"]) == (503, "/problems/standby")
                assert response.headers["Retry-After"] == "1"
    finally:
        await runner.cleanup()
