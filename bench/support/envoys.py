"""A real Envoy and clients that subscribe like one, for bench.xds."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from control_plane.resources.worker import WORKER_TYPES
from control_plane.xds.server import SERVICE
from envoy_bootstrap.admin import AdminClient
from envoy_bootstrap.binary import envoy_command
from envoy_bootstrap.bootstrap import BootstrapConfig, build_bootstrap
from wire.gen.gaugeway.envoy.v1 import discovery_pb2
from wire.names import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    GATEWAY_LISTENER,
    GATEWAY_ROUTES,
    LISTENER_TYPE,
    ROUTE_TYPE,
    XDS_CLUSTER,
)

TIMEOUT_S: Final = 120.0
POLL_S: Final = 0.02
_MAX_RESPONSE: Final = 64 << 20


@asynccontextmanager
async def envoy(folder: Path, node_id: str, port: int) -> AsyncIterator[tuple[int, AdminClient]]:
    """Run an Envoy; returns its process id and its admin interface."""
    admin = folder / "admin"
    config = BootstrapConfig(
        node_id=node_id, xds_host="127.0.0.1", xds_port=port, ext_proc_socket=str(folder / "worker.sock")
    )
    (folder / "bootstrap.json").write_text(build_bootstrap(config))
    command = envoy_command(folder / "bootstrap.json", admin_address_path=admin, log_level="error")

    async def known() -> bool:
        return admin.exists() and bool(admin.read_text())

    process = await asyncio.create_subprocess_exec(*command, stdout=sys.stderr)
    try:
        await _until(known)
        async with AdminClient("http://" + admin.read_text(), timeout_s=TIMEOUT_S) as client:
            yield process.pid, client
    finally:
        process.terminate()
        await ended(process)


async def live(admin: AdminClient, sensors: int) -> float:
    """Wait until Envoy is ready, listens and has all sensors; return when (monotonic s)."""

    async def served() -> bool:
        if not (await admin.ready() and GATEWAY_LISTENER in await admin.listeners()):
            return False
        return sum((await admin.stats(r"^cluster\.host\..*\.membership_total$")).values()) >= sensors

    await _until(served)
    return time.monotonic()


async def received(admin: AdminClient) -> int:
    """Return the bytes that Envoy has received from the control plane."""
    return sum((await admin.stats(rf"^cluster\.{XDS_CLUSTER}\.upstream_cx_rx_bytes_total$")).values())


Asked = Sequence[tuple[str, Sequence[str]]]  # by type, the names; none means all


def envoy_like(clusters: Sequence[str]) -> Asked:
    """Return what an Envoy asks for that has these clusters."""
    return (
        (CLUSTER_TYPE, ()),
        (ENDPOINT_TYPE, clusters),
        (LISTENER_TYPE, ()),
        (ROUTE_TYPE, (GATEWAY_ROUTES,)),
    )


WORKER_LIKE: Final[Asked] = tuple((type_url, ()) for type_url in WORKER_TYPES)


@asynccontextmanager
async def client(role: str, name: str, port: int, asked: Asked) -> AsyncIterator[list[float]]:
    """Subscribe and acknowledge all; returns when (monotonic s) each response with endpoints was read."""
    request = discovery_pb2.DeltaDiscoveryRequest
    read_s: list[float] = []

    async def follow(stream: Any) -> None:
        node = discovery_pb2.Node(id=name, cluster=role)
        for type_url, names in asked:
            await stream.write(request(node=node, type_url=type_url, resource_names_subscribe=names))
        async for response in stream:
            if response.type_url == ENDPOINT_TYPE:
                read_s.append(time.monotonic())
            await stream.write(request(type_url=response.type_url, response_nonce=response.nonce))

    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", _MAX_RESPONSE)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        call: Any = channel.stream_stream(
            f"/{SERVICE}/DeltaAggregatedResources",
            request_serializer=request.SerializeToString,
            response_deserializer=discovery_pb2.DeltaDiscoveryResponse.FromString,
        )
        following = asyncio.create_task(follow(call()))
        try:
            yield read_s
        finally:
            following.cancel()
            await asyncio.wait({following})


async def ended(process: asyncio.subprocess.Process) -> None:
    """Wait for a process that was asked to end; kill it if it does not."""
    try:
        async with asyncio.timeout(10):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            if await holds():
                return
            await asyncio.sleep(POLL_S)
