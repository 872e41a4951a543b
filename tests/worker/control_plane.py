"""A scripted control plane: one Delta ADS stream, resources put and removed by the test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from ext_proc.worker.resources import WORKER_TYPES
from tests.journal.support import policy
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.gen.gaugeway.envoy.v1 import discovery_pb2
from wire.names import DEFAULT_POLICY, LEASE_TYPE, POLICY_TYPE, SENSOR_TYPE

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"


class ScriptedControlPlane:
    """Serves what `put` and `remove` made of each type; remembers what the worker answered.

    Attributes:
        subscriptions: The first requests of each stream: {type: initial versions}.
        answers: By nonce: None for an ACK, the message of a NACK.
    """

    def __init__(self) -> None:
        self.resources: dict[str, dict[str, discovery_pb2.Resource]] = {}
        self.subscriptions: list[dict[str, dict[str, str]]] = []
        self.answers: dict[str, str | None] = {}
        self.port = 0
        self._context: grpc.aio.ServicerContext[Any, Any] | None = None
        self._version = 0
        self._changed = asyncio.Condition()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen; on the same port as before if there was one."""
        server = grpc.aio.server()
        handler = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString,
            response_serializer=discovery_pb2.DeltaDiscoveryResponse.SerializeToString,
        )
        handlers = grpc.method_handlers_generic_handler(SERVICE, {"DeltaAggregatedResources": handler})
        server.add_generic_rpc_handlers((handlers,))
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Go away."""
        if self._server is not None:
            await self._server.stop(None)

    async def put(self, type_url: str, name: str, body: bytes) -> str:
        """Send a resource; return the nonce."""
        self._version += 1
        resource = discovery_pb2.Resource(name=name, version=f"v{self._version}")
        resource.resource.type_url, resource.resource.value = type_url, body
        self.resources.setdefault(type_url, {})[name] = resource
        return await self._send(type_url, [resource], [])

    async def remove(self, type_url: str, name: str) -> str:
        """Remove a resource; return the nonce."""
        del self.resources[type_url][name]
        return await self._send(type_url, [], [name])

    async def say_nothing_of(self, type_url: str) -> str:
        """Send an empty response, as an ADS server does that has nothing of a type; return the nonce."""
        return await self._send(type_url, [], [])

    async def answer(self, nonce: str, timeout_s: float = 20.0) -> str | None:
        """Return the answer to `nonce`: None for ACK, the message of a NACK."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: nonce in self.answers)
        return self.answers[nonce]

    async def connected(self) -> None:
        """Wait until a worker has asked for every type."""
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(
                lambda: self._context is not None and len(self.subscriptions[-1]) == len(WORKER_TYPES)
            )

    async def lease(self, shard: int = 0, generation: int = 1) -> str | None:
        """Lease a shard; return the answer."""
        message = config_pb2.ShardLease(shard=shard, lease_generation=generation)
        return await self.answer(await self.put(LEASE_TYPE, str(shard), message.SerializeToString()))

    async def default_policy(self) -> str | None:
        """Send the default policy; return the answer."""
        nonce = await self.put(POLICY_TYPE, DEFAULT_POLICY, policy().SerializeToString())
        return await self.answer(nonce)

    async def assign(self, sensor_id: str, cluster: str = "host.lab", endpoint: str = "here:1") -> str | None:
        """Assign a sensor of shard 0; return the answer."""
        message = config_pb2.SensorAssignment(
            sensor_id=sensor_id,
            site="hall-3",
            shard=0,
            cluster=cluster,
            endpoint_version=endpoint,
            metrics=[config_pb2.Metric(name="temperature", unit="Cel")],
        )
        return await self.answer(await self.put(SENSOR_TYPE, sensor_id, message.SerializeToString()))

    async def unassign(self, sensor_id: str) -> str | None:
        """Remove a sensor; return the answer."""
        return await self.answer(await self.remove(SENSOR_TYPE, sensor_id))

    async def _send(self, type_url: str, resources: list[discovery_pb2.Resource], removed: list[str]) -> str:
        self._version += 1
        nonce = f"n{self._version}"
        if self._context is not None:
            response = discovery_pb2.DeltaDiscoveryResponse(
                type_url=type_url, nonce=nonce, resources=resources, removed_resources=removed
            )
            await self._context.write(response)
        return nonce

    async def _stream(self, _: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._context = context
        self.subscriptions.append({})
        try:
            while (request := await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]  # stubs
                async with self._changed:
                    await self._take(request)
                    self._changed.notify_all()
        finally:
            if self._context is context:
                self._context = None

    async def _take(self, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        if request.response_nonce:
            refused = request.error_detail.message if request.HasField("error_detail") else None
            self.answers[request.response_nonce] = refused
            return
        has = dict(request.initial_resource_versions)
        self.subscriptions[-1][request.type_url] = has
        ours = self.resources.get(request.type_url, {})
        newer = [resource for name, resource in ours.items() if has.get(name) != resource.version]
        gone = [name for name in has if name not in ours]
        if newer or gone:
            await self._send(request.type_url, newer, gone)


@asynccontextmanager
async def scripted_control_plane() -> AsyncIterator[ScriptedControlPlane]:
    """Return a running control plane."""
    plane = ScriptedControlPlane()
    await plane.start()
    try:
        yield plane
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await plane.stop()
