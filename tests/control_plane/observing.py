"""A server of ADS, access log and client status, and a real Envoy that may be told of its failures."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client import CollectorRegistry

from control_plane.observe.access_log import Failure
from control_plane.observe.access_log_service import AccessLogService
from control_plane.observe.client_status_service import ClientStatusService
from control_plane.observe.failures import LastFailures
from control_plane.resources.envoy import envoy_snapshot
from control_plane.xds.cache import SnapshotCache
from control_plane.xds.server import AdsServer
from hyperv.model import Endpoint
from tests.xds.support import NODE, RealEnvoy, echo_processor, eventually, wait_cache
from wire.names import (
    CLUSTER_HEADER,
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LEASE_HEADER,
    LISTENER_TYPE,
    ROUTE_TYPE,
    SENSOR_HEADER,
    STREAM_PATH,
    host_cluster,
)

HOST = "lab"
ENVOY_TYPES = (CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE)


@dataclass
class Observer:
    """The control plane's side: what it serves, and what it was told."""

    known: set[str] = field(default_factory=set)
    cache: SnapshotCache = field(default_factory=SnapshotCache)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    port: int = 0
    last: LastFailures = field(init=False)
    services: tuple[AccessLogService, ClientStatusService] = field(init=False)
    server: AdsServer = field(init=False)

    async def start(self) -> None:
        """Serve, on the same port as before if there was one."""
        self.last = LastFailures(self.known.__contains__)
        self.registry = CollectorRegistry()
        self.services = AccessLogService(self.last, self.registry), ClientStatusService(self.cache)
        handlers = [service.handler() for service in self.services]
        self.server = AdsServer(self.cache, self.registry, services=handlers)
        self.port = await self.server.start("127.0.0.1", self.port)

    async def stop(self) -> None:
        """End as the control plane does."""
        for service in self.services:
            service.close()
        await self.server.stop()

    def count(self, name: str, **labels: str) -> float:
        """Return a counter's value."""
        return self.registry.get_sample_value(f"gaugeway_access_log_{name}_total", labels) or 0.0

    async def failure(self, sensor_id: str, holds: Callable[[Failure], bool] = lambda _: True) -> Failure:
        """Wait until a sensor's last failure is there and `holds`; return it."""

        async def there() -> Failure | None:
            failure = self.last.of(sensor_id, 0)
            return failure if failure is not None and holds(failure) else None

        return await eventually(f"a failure of {sensor_id}; {self.last.of(sensor_id, 0)}", there)


@asynccontextmanager
async def observer(known: Collection[str] = ()) -> AsyncIterator[Observer]:
    """Return a served observer."""
    whole = Observer(set(known))
    await whole.start()
    try:
        yield whole
    finally:
        await whole.stop()


@dataclass
class Watched:
    """An Envoy whose failures are told to `observer`."""

    observer: Observer
    envoy: RealEnvoy
    session: aiohttp.ClientSession
    worker: contextlib.AsyncExitStack
    revision: int = 0

    async def worker_away(self) -> None:
        """End the worker."""
        await self.worker.aclose()

    async def run(self, endpoints: Mapping[str, Endpoint]) -> None:
        """Have Envoy run the endpoints of one host, and the observer know their sensors."""
        self.observer.known.update(endpoints)
        self.revision += 1
        cache = self.observer.cache
        cache.publish(NODE, envoy_snapshot({HOST: endpoints}, 0), self.revision)
        await wait_cache(
            cache,
            "Envoy runs the endpoints",
            lambda: all(cache.acked_revision(NODE, each) >= self.revision for each in ENVOY_TYPES),
        )

    async def ask(self, sensor_id: str, headers: Mapping[str, str] | None = None) -> int | None:
        """Open a sensor's stream and read it to its end; return the status, None if it broke off."""
        sent = {
            CLUSTER_HEADER: host_cluster(HOST),
            SENSOR_HEADER: sensor_id,
            LEASE_HEADER: "lease",
            **(headers or {}),
        }
        url = await self.envoy.gateway_url() + STREAM_PATH
        try:
            async with self.session.get(url, headers=sent) as response:
                await response.read()
                return response.status
        except aiohttp.ClientError:
            return None


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[Watched]:
    """Return a started Envoy with an observer and a worker that lets everything through."""
    async with contextlib.AsyncExitStack() as stack:
        told = await stack.enter_async_context(observer())
        socket_path = folder / "w.sock"
        worker = await stack.enter_async_context(contextlib.AsyncExitStack())
        await worker.enter_async_context(echo_processor(socket_path))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        envoy = RealEnvoy(folder / "envoy", socket_path, told.port)
        stack.push_async_callback(envoy.stop)
        await envoy.start()
        yield Watched(told, envoy, session, worker)


def refusing() -> Endpoint:
    """Return an address at which connections are refused: it was in use a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return Endpoint(address="127.0.0.1", port=taken.getsockname()[1])


@asynccontextmanager
async def resetting(first: bytes = b"", after_s: float = 0.0) -> AsyncIterator[Endpoint]:
    """Return a VM that says `first` to each request, and `after_s` later resets the connection."""
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        sock: Any = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(first)
            await writer.drain()
            await asyncio.sleep(after_s)  # how long the stream lasts is what is told of it
        writer.transport.abort()
        serving.discard(asyncio.current_task())

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Endpoint(address="127.0.0.1", port=server.sockets[0].getsockname()[1])
        for task in list(serving):
            assert task is not None
            task.cancel()
            await asyncio.wait({task})


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n"
