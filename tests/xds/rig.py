"""Everything around one real Envoy: control plane, worker's stand-in, VMs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from prometheus_client import CollectorRegistry

from control_plane.resources.envoy import envoy_snapshot
from control_plane.resources.model import Resource, Snapshot
from control_plane.xds.cache import SnapshotCache
from control_plane.xds.server import AdsServer
from control_plane.xds.session import TypeStatus
from envoy_bootstrap.admin import AdminClient
from tests.xds.dump import Dump
from tests.xds.support import (
    NODE,
    TIMEOUT_S,
    EchoProcessor,
    RealEnvoy,
    Variant,
    Vm,
    echo_processor,
    eventually,
    wait_cache,
)
from wire.names import (
    CLUSTER_HEADER,
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    ENVOY_ROLE,
    LEASE_HEADER,
    LISTENER_TYPE,
    ROUTE_TYPE,
    SENSOR_HEADER,
    STREAM_PATH,
)

ENVOY_TYPES: Final = (CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE)
Fleet = Mapping[str, Mapping[str, Vm]]  # {host: {sensor: VM}}


def fleet_snapshot(fleet: Fleet, put: Iterable[Resource] = ()) -> Snapshot:
    """Return an Envoy's snapshot; `put` are added to it, in place of those of the same name."""
    endpoints = {host: {sensor: vm.endpoint for sensor, vm in vms.items()} for host, vms in fleet.items()}
    return envoy_snapshot(endpoints, 0).with_changes(put)


class ControlPlane:
    """An ADS server with its cache and metrics."""

    def __init__(self, revision: int = 0) -> None:
        self.cache = SnapshotCache()
        self.registry = CollectorRegistry()
        self.server = AdsServer(self.cache, self.registry)
        self.revision = revision
        self.port = 0

    async def start(self, port: int = 0) -> None:
        """Listen."""
        self.port = await self.server.start("127.0.0.1", port)

    def publish(self, snapshot: Snapshot) -> int:
        """Publish for the Envoy; return the revision."""
        self.revision += 1
        self.cache.publish(NODE, snapshot, self.revision)
        return self.revision

    async def acked(self, revision: int, *types: str, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until Envoy acknowledged `revision` of each type; of all of them if none is named."""
        await wait_cache(
            self.cache,
            f"revision {revision} of {types} acknowledged",
            lambda: all(self.cache.acked_revision(NODE, each) >= revision for each in types or ENVOY_TYPES),
            timeout_s,
        )

    async def refused(self, type_url: str, name: str) -> str:
        """Wait until Envoy refused a resource; return its own words."""

        def rejected() -> bool:
            return name in self.status(type_url).rejected

        await wait_cache(self.cache, f"{name} is refused", rejected)
        return self.status(type_url).rejected[name].error

    async def settles(self, type_url: str) -> None:
        """Wait until Envoy has answered all that was sent of a type: it runs it, or refused it."""

        def answered() -> bool:
            status = self.status(type_url)
            rejected = {name: each.version for name, each in status.rejected.items()}
            return all(
                version in {status.acked.get(name), rejected.get(name)}
                for name, version in status.sent.items()
                if version
            )

        await wait_cache(self.cache, f"{type_url} is answered", answered)

    def asked(self, type_url: str) -> bool:
        """Return whether Envoy has asked for a type."""
        return any(each.key == NODE and type_url in each.types for each in self.cache.nodes())

    def connected_since(self) -> int | None:
        """Return when Envoy's stream began; None while it has none."""
        return next((each.connected_since_unix_ns for each in self.cache.nodes() if each.key == NODE), None)

    async def connected(self, *, after: int | None = None) -> None:
        """Wait until Envoy has a stream, one that began later than `after`."""

        def begun() -> bool:
            since = self.connected_since()
            return since is not None and since > (after or 0)

        await wait_cache(self.cache, f"Envoy has a stream of after {after}", begun)

    def status(self, type_url: str) -> TypeStatus:
        """Return where Envoy stands with a type."""
        node = next(each for each in self.cache.nodes() if each.key == NODE)
        return node.types[type_url]

    def pushes(self) -> float:
        """Return how many responses were sent to Envoys."""
        names = (each.rpartition(".")[2] for each in ENVOY_TYPES)
        values = (
            self.registry.get_sample_value("gaugeway_xds_pushes_total", {"role": ENVOY_ROLE, "type": name})
            for name in names
        )
        return sum(value or 0.0 for value in values)


@dataclass
class Rig:
    """One Envoy and what it talks to; `control` is the control plane that serves it now."""

    control: ControlPlane
    envoy: RealEnvoy
    processor: EchoProcessor
    session: aiohttp.ClientSession

    def publish(self, fleet: Fleet, put: Iterable[Resource] = ()) -> int:
        """Publish a fleet for the Envoy; return the revision."""
        return self.control.publish(fleet_snapshot(fleet, put))

    async def settled(self, fleet: Fleet, put: Iterable[Resource] = ()) -> None:
        """Publish a fleet and wait until Envoy runs all of it."""
        await self.control.acked(self.publish(fleet, put))

    async def restart_control_plane(self) -> None:
        """Replace the control plane by one on the same port that knows nothing yet."""
        port = self.control.port
        await self.control.server.stop()
        self.control = ControlPlane()
        await self.control.start(port)

    async def open(self, cluster: str, sensor: str) -> aiohttp.ClientResponse:
        """Open a sensor's stream through Envoy."""
        headers = {CLUSTER_HEADER: cluster, SENSOR_HEADER: sensor, LEASE_HEADER: f"lease of {sensor}"}
        url = await self.envoy.gateway_url()
        return await self.session.get(url + STREAM_PATH, headers=headers)

    async def says(self, cluster: str, sensor: str) -> tuple[int, str]:
        """Return the status and first line of a sensor's stream, and end it."""
        response = await self.open(cluster, sensor)
        try:
            return response.status, await line(response) if response.status == 200 else ""
        finally:
            response.close()

    async def stats(self, pattern: str) -> dict[str, int]:
        """Return Envoy's counters and gauges by name."""
        async with AdminClient(self.envoy.admin_url) as admin:
            return await admin.stats(pattern)

    async def stat(self, name: str) -> int:
        """Return one counter or gauge; 0 if there is none."""
        return (await self.stats(f"^{name}$")).get(name, 0)

    async def reaches(self, name: str, value: int) -> None:
        """Wait until a counter or gauge has a value."""

        async def probe() -> bool:
            return await self.stat(name) == value

        await eventually(f"{name} is {value}", probe)

    async def applied(self, cluster: str, connect_timeout: str) -> None:
        """Wait until a cluster is active with a connect timeout."""

        async def probe() -> bool:
            return (await self.running()).clusters.get(cluster, {}).get("connect_timeout") == connect_timeout

        await eventually(f"{cluster} has a connect timeout of {connect_timeout}", probe)

    async def updates(self) -> dict[str, int]:
        """Return how often Envoy took or refused a configuration, by statistic."""
        return await self.stats(r"\.(update_success|update_rejected)$")

    async def running(self) -> Dump:
        """Return what Envoy runs."""
        async with AdminClient(self.envoy.admin_url) as admin:
            return Dump(await admin.config_dump(endpoints=True))


async def line(response: aiohttp.ClientResponse) -> str:
    """Return the next line of a stream's body."""
    return (await response.content.readline()).decode().strip()


@asynccontextmanager
async def rig(folder: Path, variant: Variant = "delta", *, xds_port: int | None = None) -> AsyncIterator[Rig]:
    """Return a started control plane, processor and Envoy; nothing is published yet.

    Args:
        folder: Holds what Envoy writes.
        variant: Of the protocol: delta or sotw.
        xds_port: Where Envoy looks for its control plane, if not at this one's port.
    """
    control = ControlPlane()
    await control.start()
    socket = folder / "w.sock"
    envoy = RealEnvoy(folder / "envoy", socket, xds_port or control.port, variant=variant)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with echo_processor(socket) as processor, aiohttp.ClientSession(connector=connector) as session:
        around = Rig(control, envoy, processor, session)
        try:
            await envoy.start()
            yield around
        finally:
            await envoy.stop()
            await around.control.server.stop()


class Relay:
    """A TCP port that leads to another; Envoy sees a server that moves."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen on a port of the system's choosing."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def lead_to(self, target: int) -> None:
        """Lead to another port from now on, and cut what is open."""
        self.target = target
        for writer in self._open:
            writer.transport.abort()

    async def stop(self) -> None:
        """End it."""
        self.lead_to(self.target)
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, far_writer}
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        self._open -= {writer, far_writer}


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    except OSError:
        pass
    finally:
        sink.close()
