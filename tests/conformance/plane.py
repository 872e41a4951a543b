"""A real ADS server whose cache the test publishes into, and clients of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client import CollectorRegistry

from control_plane.xds.cache import NodeStatus, SnapshotCache
from control_plane.xds.node import NodeKey
from control_plane.xds.server import AdsServer
from control_plane.xds.session import TypeStatus
from tests.conformance.client import ANSWER_S, Client, node_of
from tests.conformance.resources import TYPES, snapshot
from tests.conformance.variants import VARIANTS
from wire.names import ENVOY_ROLE

NODE_ID: Final = "envoy-1"
KEY: Final = NodeKey(ENVOY_ROLE, NODE_ID)


@dataclass
class Plane:
    """One control plane; `registry` holds its metrics."""

    cache: SnapshotCache
    server: AdsServer
    registry: CollectorRegistry
    port: int = 0
    revision: int = 0
    clients: list[Client] = field(default_factory=list)

    def publish(self, key: NodeKey = KEY, /, **fleet: Mapping[str, str]) -> int:
        """Publish what a node should run, `alias={name: version}`; return the revision."""
        self.revision += 1
        self.cache.publish(key, snapshot(fleet), self.revision)
        return self.revision

    def client(
        self,
        variant: str,
        service: str = "ads",
        *,
        node_id: str = NODE_ID,
        options: Sequence[tuple[str, Any]] = (),
        **of: Any,
    ) -> Client:
        """Return a client with an open stream; its first request says that it is `node_id`."""
        client = VARIANTS[variant](self.port, node_of(node_id, **of), service, options)
        self.clients.append(client)
        return client

    def node(self, key: NodeKey = KEY) -> NodeStatus:
        """Return what the cache says of a node."""
        return next(status for status in self.cache.nodes() if status.key == key)

    def of(self, alias: str, key: NodeKey = KEY) -> TypeStatus:
        """Return what the cache says of one type of a node."""
        return self.node(key).types[TYPES[alias]]

    async def until(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait until something holds, looking after each change of the cache."""
        try:
            async with asyncio.timeout(ANSWER_S):
                seen = self.cache.changes
                while not holds():
                    seen = await self.cache.wait_change(seen)
        except TimeoutError:
            raise AssertionError(f"not within {ANSWER_S} s: {what}; {self.cache.nodes()}") from None

    async def acked(self, revision: int, *aliases: str, key: NodeKey = KEY) -> None:
        """Wait until a node acknowledged a revision of each type."""
        await self.until(
            f"revision {revision} of {aliases} acknowledged",
            lambda: all(self.cache.acked_revision(key, TYPES[alias]) >= revision for alias in aliases),
        )

    async def disconnected(self, key: NodeKey = KEY) -> None:
        """Wait until a node has no stream."""
        await self.until(f"{key} has no stream", lambda: self.node(key).connected_since_unix_ns is None)

    def metric(self, name: str, **labels: str) -> float:
        """Return a metric's value; 0 if it was never counted."""
        return self.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def control_plane(**server: Any) -> AsyncIterator[Plane]:
    """Return a control plane on a port of the system's choosing; `server` goes to AdsServer."""
    cache, registry = SnapshotCache(), CollectorRegistry()
    plane = Plane(cache, AdsServer(cache, registry, **server), registry)
    plane.port = await plane.server.start("127.0.0.1", 0)
    try:
        yield plane
    finally:
        for client in plane.clients:
            await client.close()
        await plane.server.stop()
