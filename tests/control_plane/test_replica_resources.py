"""What two replicas make of the same store: the same bytes, and nothing new for a node that moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio

from tests.control_plane.black_hole import black_hole
from tests.control_plane.replicas import Replica, Replicated, free_port, replicated
from tests.control_plane.rig import machine
from tests.support.nats import NatsServer
from tests.xds.support import NODE, RealEnvoy, eventually
from wire.gen.gaugeway.envoy.v1 import discovery_pb2
from wire.names import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    ENVOY_ROLE,
    GATEWAY_ROUTES,
    LEASE_TYPE,
    LISTENER_TYPE,
    POLICY_TYPE,
    ROUTE_TYPE,
    SENSOR_TYPE,
    WORKER_ROLE,
    host_cluster,
)

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
ASKS = {
    ENVOY_ROLE: {
        CLUSTER_TYPE: "*",
        ENDPOINT_TYPE: host_cluster("lab"),
        LISTENER_TYPE: "*",
        ROUTE_TYPE: GATEWAY_ROUTES,
    },
    WORKER_ROLE: {LEASE_TYPE: "*", POLICY_TYPE: "*", SENSOR_TYPE: "*"},
}
SENSORS = ("press-1", "press-2")

Key = tuple[str, str]  # type URL, name


class Node:
    """A node that takes everything.

    Attributes:
        has: By type and name: version and bytes.
        heard: How many responses came.
    """

    def __init__(self, role: str) -> None:
        self.role = role
        self.has: dict[Key, tuple[str, bytes]] = {}
        self.heard = 0

    async def follow(self, address: str) -> None:
        """Take what a control plane says, until cancelled; states what it has."""
        node = discovery_pb2.Node(id=NODE.node_id, cluster=self.role)
        async with grpc.aio.insecure_channel(address) as channel:
            stream = channel.stream_stream(
                METHOD,
                request_serializer=discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
                response_deserializer=discovery_pb2.DeltaDiscoveryResponse.FromString,
            )(None)
            for type_url, name in ASKS[self.role].items():
                states = {key[1]: version for key, (version, _) in self.has.items() if key[0] == type_url}
                request = discovery_pb2.DeltaDiscoveryRequest(
                    node=node,
                    type_url=type_url,
                    resource_names_subscribe=[name],
                    initial_resource_versions=states,
                )
                await stream.write(request)
            async for response in stream:
                self._take(response)
                ack = discovery_pb2.DeltaDiscoveryRequest(
                    type_url=response.type_url, response_nonce=response.nonce
                )
                await stream.write(ack)

    def _take(self, response: discovery_pb2.DeltaDiscoveryResponse) -> None:
        self.heard += 1
        for each in response.resources:
            self.has[response.type_url, each.name] = (each.version, each.resource.SerializeToString())
        for name in response.removed_resources:
            self.has.pop((response.type_url, name), None)


@asynccontextmanager
async def nodes_at(replica: Replica, nodes: list[Node]) -> AsyncIterator[None]:
    """Have nodes follow a replica."""
    tasks = [asyncio.create_task(node.follow(replica.xds_address)) for node in nodes]
    try:
        await eventually("the nodes are connected", lambda: _connected(replica, len(nodes)))
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _connected(replica: Replica, count: int) -> bool:
    return await replica.nodes() == count


async def all_of(nodes: list[Node]) -> dict[Key, tuple[str, bytes]]:
    """Wait until the nodes have everything; return it."""
    wanted = {(SENSOR_TYPE, sensor) for sensor in SENSORS} | {(LEASE_TYPE, "0"), (LEASE_TYPE, "1")}
    wanted |= {(ENDPOINT_TYPE, host_cluster("lab")), (ROUTE_TYPE, GATEWAY_ROUTES)}

    async def complete() -> dict[Key, tuple[str, bytes]] | None:
        has = {key: value for node in nodes for key, value in node.has.items()}
        kinds = {type_url for type_url, _ in has}
        every = {type_url for asks in ASKS.values() for type_url in asks}
        return has if wanted <= has.keys() and kinds == every else None

    return await eventually("the nodes have everything", complete)


async def test_replicas_make_the_same_bytes(tmp_path: Path, nats_server: NatsServer) -> None:
    """A node that moves is sent nothing; one that comes with nothing gets, byte for byte, what it had."""
    async with replicated(tmp_path, nats_server) as whole:
        await whole.start_replicas()
        nodes = [Node(ENVOY_ROLE), Node(WORKER_ROLE)]
        async with nodes_at(whole.one, nodes):
            for sensor in SENSORS:
                assert (await whole.api("POST", "/v1/sensors", machine(sensor)))[0] == 201
            before = await all_of(nodes)
        await whole.one.kill()
        await whole.other.leads(timeout_s=10.0)
        heard = [node.heard for node in nodes]
        async with nodes_at(whole.other, nodes):
            await settled(whole)
            assert [node.heard for node in nodes] == heard
            assert await whole.other.samples("gaugeway_xds_pushes_total") == 0
        fresh = [Node(ENVOY_ROLE), Node(WORKER_ROLE)]
        async with nodes_at(whole.other, fresh):
            assert await all_of(fresh) == before


async def settled(whole: Replicated) -> None:
    """Wait until the other control plane counts every resource as acknowledged."""
    whole.follow(whole.other)

    async def acknowledged() -> bool:
        _, answer = await whole.api("GET", "/v1/nodes")
        counts = [each for node in answer["nodes"] for each in node["types"].values()]
        return len(counts) == 7 and all(each["sent"] == each["acked"] for each in counts)

    await eventually("everything counts as acknowledged", acknowledged)


async def test_an_envoy_goes_on_to_whoever_answers(tmp_path: Path, nats_server: NatsServer) -> None:
    """One address refuses, one swallows whatever comes: it is served within a few connect timeouts of 2 s."""
    async with replicated(tmp_path, nats_server) as whole:
        await whole.start_replicas()
        with black_hole() as silent:
            others = (f"127.0.0.1:{silent}", whole.one.xds_address)
            envoy = RealEnvoy(tmp_path / "envoy", tmp_path / "worker.sock", free_port(), xds_others=others)
            began_s = asyncio.get_running_loop().time()
            await envoy.start()
            try:
                await envoy.gateway_url()
                assert asyncio.get_running_loop().time() - began_s < 10.0
            finally:
                await envoy.stop()
