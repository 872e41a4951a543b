"""Clients that are wrong, too many, stuck or slow: a clear status, and nobody else notices."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from control_plane.xds.node import NodeKey
from control_plane.xds.session import MAX_TYPES
from tests.conformance.client import node_of
from tests.conformance.plane import Plane, control_plane
from wire.names import ENVOY_ROLE, WORKER_ROLE

SMALL_WINDOW = (("grpc.http2.bdp_probe", 0),)  # a client that does not read is sent 64 KB


@pytest.mark.parametrize(
    ("node_id", "role", "says"),
    [
        ("", ENVOY_ROLE, "node.id"),
        ("no dns label", ENVOY_ROLE, "node.id"),
        ("Upper", ENVOY_ROLE, "node.id"),
        ("x" * 64, ENVOY_ROLE, "node.id"),
        ("envoy-1", "somebody", "node.cluster 'somebody' must be one of"),
        ("envoy-1", "", "node.cluster"),
    ],
)
async def test_a_client_must_say_who_it_is(
    plane: Plane, variant: str, node_id: str, role: str, says: str
) -> None:
    """The sentence names the field; nothing is remembered of the client."""
    client = plane.client(variant, node_id=node_id, role=role)
    await client.subscribe("cds")
    code, reason = await client.ended()
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert says in reason
    assert plane.cache.nodes() == []
    assert plane.metric("gaugeway_xds_refused_streams_total", reason="node") == 1


async def test_the_node_may_come_with_each_request_but_not_change(plane: Plane, variant: str) -> None:
    """It is sure only in the first one; another one in mid-stream is an error."""
    plane.publish(cds={"a": "1"}, lds={"l": "1"})
    client = plane.client(variant)
    await client.subscribe("cds")
    await client.takes("cds", {"a": "1"})
    await client.say("lds", node=client.node)
    await client.expect("lds", {"l": "1"})
    await client.say("rds", node=node_of("envoy-2"))
    code, reason = await client.ended()
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "envoy-1" in reason
    assert "envoy-2" in reason


async def test_roles_are_told_apart(plane: Plane, variant: str) -> None:
    """An Envoy and a worker of the same id are two nodes."""
    worker = NodeKey(WORKER_ROLE, "envoy-1")
    plane.publish(cds={"a": "1"})
    plane.publish(worker, sensor={"s": "1"})
    envoy, other = plane.client(variant), plane.client(variant, role=WORKER_ROLE)
    await envoy.subscribe("cds")
    await envoy.takes("cds", {"a": "1"})
    await other.subscribe("sensor")
    await other.takes("sensor", {"s": "1"})
    await envoy.expect_silence()


async def test_a_request_needs_a_type(plane: Plane, variant: str) -> None:
    """On an aggregated stream there is no other way to know what is meant."""
    client = plane.client(variant)
    await client.say("")
    code, reason = await client.ended()
    assert (code, reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "type_url is empty: it must name the resource type",
    )
    assert plane.metric("gaugeway_xds_refused_streams_total", reason="protocol") == 1


async def test_types_are_bounded(plane: Plane, variant: str) -> None:
    """A client cannot make the server remember ever more types."""
    client = plane.client(variant)
    for number in range(MAX_TYPES + 1):
        await client.say(f"type.googleapis.com/t{number}")
    code, reason = await client.ended()
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert f"more than {MAX_TYPES} types" in reason


async def test_streams_of_a_node_are_bounded(variant: str) -> None:
    """One too many is refused; those there are go on, and one that ends makes room."""
    async with control_plane(max_node_streams=2) as plane:
        plane.publish(eds={"a": "1"})
        clients = [plane.client(variant, "eds") for _ in range(3)]
        for client in clients[:2]:
            await client.subscribe("eds", "a")
            await client.takes("eds", {"a": "1"})
        await clients[2].subscribe("eds", "a")
        code, reason = await clients[2].ended()
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason == "node envoy-1 has 2 streams already, which is the limit"
        assert plane.metric("gaugeway_xds_refused_streams_total", reason="limit") == 1
        plane.publish(eds={"a": "2"})
        for client in clients[:2]:
            await client.takes("eds", {"a": "2"})
        await clients[0].close()
        await plane.until("there is room", lambda: len(plane.cache.connections()) == 1)
        again = plane.client(variant, "eds")
        await again.subscribe("eds", "a")
        await again.takes("eds", {"a": "2"})


async def test_all_streams_are_bounded(variant: str) -> None:
    """A node that replaces its own stream is let in; a new one is not."""
    async with control_plane(max_streams=2) as plane:
        for node_id in ("envoy-1", "envoy-2"):
            plane.publish(NodeKey(ENVOY_ROLE, node_id), cds={"a": "1"})
            client = plane.client(variant, node_id=node_id)
            await client.subscribe("cds")
            await client.takes("cds", {"a": "1"})
        third = plane.client(variant, node_id="envoy-3")
        await third.subscribe("cds")
        assert await third.ended() == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "the control plane has 2 streams already, which is its limit",
        )
        again = plane.client(variant, node_id="envoy-2")
        await again.subscribe("cds")
        await again.takes("cds", {"a": "1"})


async def test_a_client_that_does_not_answer_gets_the_newest_state_when_it_does(
    plane: Plane, variant: str
) -> None:
    """A hundred changes are a bounded number of responses, and the last one says what counts."""
    plane.publish(cds={"a": "0"})
    client = plane.client(variant)
    await client.subscribe("cds")
    first = await client.expect("cds", {"a": "0"})
    for version in range(1, 101):
        plane.publish(cds={"a": str(version)})
        await asyncio.sleep(0)  # the server may send, each time
    await client.ack(first)
    heard = await client.drain()
    assert len(heard) <= 20
    assert heard[-1].put == {"a": "100"}
    assert client.have["cds"] == {"a": "100"}


@pytest.mark.parametrize("alias", ["cds", "eds"])
async def test_much_goes_in_pieces_that_a_client_can_take(plane: Plane, variant: str, alias: str) -> None:
    """Responses stay below gRPC's default limit of 4 MB, but where SotW must say all there is at once."""
    names = [f"{number:04}-{'x' * 1000}" for number in range(3200)]
    revision = plane.publish(**{alias: dict.fromkeys(names, "1")})
    client = plane.client(variant)
    await client.subscribe(alias, *([] if alias == "cds" else names))
    heard = await client.drain()
    assert (len(heard) == 1) == (variant == "sotw" and alias == "cds")
    assert client.have[alias] == dict.fromkeys(names, "1")
    assert sum(len(answer.put) for answer in heard) == len(names)
    await plane.acked(revision, alias)


async def test_a_stuck_client_delays_nobody(plane: Plane, variant: str) -> None:
    """One that reads nothing at all costs the others nothing: they have each change at once."""
    stuck = plane.client(variant, node_id="stuck", options=SMALL_WINDOW)
    key = NodeKey(ENVOY_ROLE, "stuck")
    big = {f"cluster-{number}-{'x' * 4000}": "0" for number in range(500)}
    plane.publish(key, cds=big)
    await stuck.subscribe("cds")
    plane.publish(cds={"a": "0"})
    client = plane.client(variant)
    await client.subscribe("cds")
    await client.takes("cds", {"a": "0"})
    for version in range(1, 51):
        plane.publish(key, cds=dict.fromkeys(big, str(version)))
        plane.publish(cds={"a": str(version)})
        await client.takes("cds", {"a": str(version)})
    sent = plane.metric("gaugeway_xds_pushes_total", role=ENVOY_ROLE, type="Cluster")
    assert sent <= 51 + 20


async def test_a_client_that_never_answers_is_closed(variant: str) -> None:
    """After the limit, with a status that says why; the others stay."""
    async with control_plane(answer_s=0.3) as plane:
        key = NodeKey(ENVOY_ROLE, "silent")
        plane.publish(key, lds={"l": "1"})
        plane.publish(lds={"l": "1"})
        silent, client = plane.client(variant, node_id="silent"), plane.client(variant)
        await client.subscribe("lds")
        await client.takes("lds", {"l": "1"})
        await silent.subscribe("lds")
        await silent.expect("lds", {"l": "1"})
        assert await silent.ended() == (
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "Listener: no answer for 0.3 s",
        )
        assert plane.metric("gaugeway_xds_slow_clients_total", role=ENVOY_ROLE) == 1
        plane.publish(lds={"l": "2"})
        await client.takes("lds", {"l": "2"})


async def test_a_client_that_never_reads_is_closed(variant: str) -> None:
    """What is written and not read counts as well as what is not answered."""
    async with control_plane(answer_s=0.3) as plane:
        key = NodeKey(ENVOY_ROLE, "stuck")
        plane.publish(key, cds={f"cluster-{number}-{'x' * 4000}": "0" for number in range(500)})
        stuck = plane.client(variant, node_id="stuck", options=SMALL_WINDOW)
        await stuck.subscribe("cds")
        await plane.until(
            "it is counted", lambda: plane.metric("gaugeway_xds_slow_clients_total", role=ENVOY_ROLE) == 1
        )
        await plane.until("it is closed", lambda: not plane.cache.connections())


async def test_a_cluster_that_warms_may_take_its_time(variant: str) -> None:
    """Envoy withholds that answer until the endpoints are there: it is not slow, it waits for us."""
    async with control_plane(answer_s=0.3) as plane:
        plane.publish(cds={"a": "1"}, eds={}, lds={"l": "1"})
        client = plane.client(variant)
        await client.subscribe("cds")
        cluster = await client.expect("cds", {"a": "1"})
        await client.subscribe("eds", "a")
        if variant == "delta":
            await client.takes("eds", {}, removed=["a"])
        await client.subscribe("lds")
        silent = plane.client(variant, node_id="silent")  # its end shows that the limit has passed
        plane.publish(NodeKey(ENVOY_ROLE, "silent"), lds={"l": "1"})
        await client.takes("lds", {"l": "1"})
        await silent.subscribe("lds")
        await silent.expect("lds", {"l": "1"})
        assert (await silent.ended())[0] == grpc.StatusCode.DEADLINE_EXCEEDED
        plane.publish(cds={"a": "1"}, eds={"a": "1"}, lds={"l": "1"})
        await client.takes("eds", {"a": "1"})
        await client.ack(cluster)
        await client.expect_silence()
