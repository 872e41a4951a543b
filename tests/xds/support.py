"""A real Envoy on the ADS server, scripted VMs behind it and a scripted worker beside it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import grpc
import grpc.aio
from aiohttp import web

from control_plane.xds.cache import SnapshotCache
from control_plane.xds.node import NodeKey
from envoy_bootstrap.admin import AdminClient
from envoy_bootstrap.binary import envoy_command
from envoy_bootstrap.bootstrap import BootstrapConfig, build_bootstrap
from hyperv.model import Endpoint
from wire.gen.gaugeway.envoy.v1 import ext_proc_pb2
from wire.names import ENVOY_ROLE, GATEWAY_LISTENER, STREAM_PATH

T = TypeVar("T")
Variant = Literal["delta", "sotw"]
TIMEOUT_S = 30.0
NODE = NodeKey(ENVOY_ROLE, "envoy-1")


async def eventually(what: str, probe: Callable[[], Awaitable[T | None]], timeout_s: float = TIMEOUT_S) -> T:
    """Return the first result of `probe` that is not None or False; fail with `what` after `timeout_s`."""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                result = await probe()
                if result is not None and result is not False:
                    return result
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {timeout_s} s: {what}") from None


async def wait_cache(
    cache: SnapshotCache, what: str, holds: Callable[[], bool], timeout_s: float = TIMEOUT_S
) -> None:
    """Wait until `holds`, looking after each change of `cache`."""
    try:
        async with asyncio.timeout(timeout_s):
            seen = cache.changes
            while not holds():
                seen = await cache.wait_change(seen)
    except TimeoutError:
        raise AssertionError(f"not within {timeout_s} s: {what}; {cache.nodes()}") from None


@dataclass
class Vm:
    """An upstream: says its name on each stream, then what the test has it say."""

    name: str
    endpoint: Endpoint
    requests: list[Mapping[str, str]] = field(default_factory=list)
    _streams: list[web.StreamResponse] = field(default_factory=list)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Open a stream that stays open."""
        self.requests.append(dict(request.headers))
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(f"{self.name}\n".encode())
        self._streams.append(response)
        await asyncio.Event().wait()  # until the client goes
        return response

    async def say(self, text: str) -> None:
        """Send a line on every stream that is open."""
        for stream in self._streams:
            with contextlib.suppress(ConnectionResetError):
                await stream.write(f"{text}\n".encode())


@asynccontextmanager
async def vm(name: str, address: str) -> AsyncIterator[Vm]:
    """Return a running upstream on a port of the system's choosing."""
    served = Vm(name, Endpoint(address=address, port=1))
    app = web.Application()
    app.router.add_get(STREAM_PATH, served.serve)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, address, 0)
    await site.start()
    served.endpoint = Endpoint(address=address, port=runner.addresses[0][1])
    try:
        yield served
    finally:
        await runner.cleanup()


class EchoProcessor:
    """An ext_proc server that lets bodies through, and remembers each stream's metadata."""

    def __init__(self) -> None:
        self.metadata: list[dict[str, str]] = []
        self.statuses: list[str] = []

    async def process(
        self, requests: AsyncIterator[ext_proc_pb2.ProcessingRequest], context: Any
    ) -> AsyncIterator[ext_proc_pb2.ProcessingResponse]:
        """Answer one stream."""
        self.metadata.append(dict(context.invocation_metadata() or ()))
        async for request in requests:
            answer = ext_proc_pb2.ProcessingResponse()
            if request.HasField("response_headers"):
                headers = {each.key: each.raw_value for each in request.response_headers.headers.headers}
                self.statuses.append(headers[":status"].decode())
                answer.response_headers.SetInParent()
            elif request.HasField("response_body"):
                streamed = answer.response_body.response.body_mutation.streamed_response
                streamed.body = request.response_body.body
                streamed.end_of_stream = request.response_body.end_of_stream
            elif request.HasField("response_trailers"):
                answer.response_trailers.SetInParent()
            else:
                raise AssertionError(f"Envoy sent {request.WhichOneof('request')}")
            yield answer


@asynccontextmanager
async def echo_processor(socket: Path) -> AsyncIterator[EchoProcessor]:
    """Return an ext_proc server on a Unix socket."""
    processor = EchoProcessor()
    handler = grpc.stream_stream_rpc_method_handler(
        processor.process,
        request_deserializer=ext_proc_pb2.ProcessingRequest.FromString,
        response_serializer=ext_proc_pb2.ProcessingResponse.SerializeToString,
    )
    server = grpc.aio.server()
    service = "envoy.service.ext_proc.v3.ExternalProcessor"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Process": handler}),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        yield processor
    finally:
        await server.stop(None)


@dataclass
class RealEnvoy:
    """An Envoy process; its log is in `folder`."""

    folder: Path
    socket: Path
    xds_port: int
    process: asyncio.subprocess.Process | None = None
    admin_url: str = ""
    node_id: str = NODE.node_id
    variant: Variant = "delta"
    xds_others: tuple[str, ...] = ()

    async def start(self) -> None:
        """Start it and wait for its admin interface."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = BootstrapConfig(
            node_id=self.node_id,
            xds_host="127.0.0.1",
            xds_port=self.xds_port,
            ext_proc_socket=str(self.socket),
            xds_variant=self.variant,
            xds_others=self.xds_others,
        )
        file, address = self.folder / "bootstrap.json", self.folder / "admin"
        address.unlink(missing_ok=True)
        file.write_text(build_bootstrap(config))
        command = envoy_command(file, admin_address_path=address, log_level="warning")
        with (self.folder / "envoy.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, stdout=log, stderr=asyncio.subprocess.STDOUT
            )

        async def known() -> str | None:
            assert self.process is not None
            assert self.process.returncode is None, self.log()
            return (address.exists() and address.read_text()) or None  # it is there before it is written

        self.admin_url = "http://" + await eventually("Envoy's admin address", known)

    def log(self) -> str:
        """Return what it wrote to stdout and stderr."""
        return (self.folder / "envoy.log").read_text()

    async def gateway_url(self) -> str:
        """Return the gateway's URL, once it listens."""
        async with AdminClient(self.admin_url) as admin:

            async def listening() -> str | None:
                started = await admin.stats("^listener_manager.workers_started$")
                return (await admin.listeners()).get(GATEWAY_LISTENER) if any(started.values()) else None

            return "http://" + await eventually(f"the gateway listens; {self.log()}", listening)

    async def stop(self) -> None:
        """End it."""
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()

    async def kill(self) -> None:
        """End it as a crash does."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()
