"""Hostile clients and odd ones: what they can cost is bounded, and they are told what is wrong."""

from __future__ import annotations

import asyncio
import math

import grpc
import grpc.aio
import pytest

from control_plane.xds.messages import MAX_NAME, MAX_NAMES
from control_plane.xds.node import MAX_METADATA_BYTES, NodeKey
from control_plane.xds.rejection import MAX_ERROR
from tests.conformance.plane import Plane, control_plane
from tests.conformance.resources import TYPES
from wire.gen.gaugeway.envoy.v1 import discovery_pb2
from wire.names import ENVOY_ROLE


async def test_a_node_that_replaces_its_stream_is_counted_once(plane: Plane, variant: str) -> None:
    """And not at all once it has gone."""
    plane.publish(cds={"a": "1"})
    for _ in range(3):
        client = plane.client(variant)
        await client.subscribe("cds")
        await client.takes("cds", {"a": "1"})
    assert plane.metric("gaugeway_xds_connected_nodes", role=ENVOY_ROLE) == 1
    for client in plane.clients:
        await client.close()
    await plane.disconnected()
    assert plane.metric("gaugeway_xds_connected_nodes", role=ENVOY_ROLE) == 0


async def test_the_status_of_a_node_with_hundreds_of_streams_is_read_at_once(
    plane: Plane, variant: str
) -> None:
    """An Envoy with a stream for each cluster: what it says of one name is found whatever the number."""
    names = [f"e-{number}" for number in range(400)]
    revision = plane.publish(eds=dict.fromkeys(names, "1"))
    for name in names:
        client = plane.client(variant, "eds")
        await client.subscribe("eds", name)
        await client.takes("eds", {name: "1"})
    await plane.until("the last is in", lambda: names[-1] in plane.of("eds").acked)
    assert plane.of("eds").acked == dict.fromkeys(names, "1")
    assert [plane.of("eds").sent.get(name) for name in ("e-0", "e-399", "e-400")] == ["1", "1", None]
    assert revision == 1


async def test_a_refusal_without_a_text_is_one(plane: Plane, variant: str) -> None:
    """The presence of the field counts; what is shown is never empty."""
    plane.publish(cds={"a": "1"})
    client = plane.client(variant)
    await client.subscribe("cds")
    answer = await client.expect("cds", {"a": "1"})
    await client.say("cds", response_nonce=answer.nonce, error_detail=discovery_pb2.Status(code=3))
    await plane.until("it is contained", lambda: "a" in plane.of("cds").rejected)
    assert plane.of("cds").rejected["a"].error == "refused without a reason (gRPC code 3)"


async def test_a_refusal_of_megabytes_holds_nobody_up_and_is_not_kept(plane: Plane, variant: str) -> None:
    """Of its text a few thousand characters are kept, once for all that it refuses."""
    names = [f"s-{number}" for number in range(5_000)]
    plane.publish(eds=dict.fromkeys(names, "1"))
    client = plane.client(variant)
    await client.subscribe("eds", *names)
    answer = await client.expect("eds", dict.fromkeys(names, "1"))
    await client.nack(answer, "x: y " * 500_000 + ", ".join(f"{name}: no" for name in names))
    await plane.until("it is contained", lambda: len(plane.of("eds").rejected) == len(names))
    errors = {each.error for each in plane.of("eds").rejected.values()}
    assert len(errors) == 1
    assert len(errors.pop()) <= MAX_ERROR


@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
async def test_bytes_that_are_no_request_have_a_clear_end(plane: Plane, variant: str, first: bool) -> None:
    """The client is at fault, and is told so in words that are not Python's."""
    client = plane.client(variant)
    if not first:
        plane.publish(cds={"a": "1"})
        await client.subscribe("cds")
        await client.takes("cds", {"a": "1"})
        client.call._request_serializer = bytes
        await client.call.write(b"\xff\xff")
    else:
        client.call._request_serializer = bytes
        await client.call.write(b"\xff\xff")
    code, reason = await client.ended()
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert reason.endswith("DiscoveryRequest: the bytes are none")
    assert plane.metric("gaugeway_xds_refused_streams_total", reason="protocol") == 1


@pytest.mark.parametrize("number", [math.nan, math.inf])
async def test_what_a_node_says_of_itself_must_be_json(plane: Plane, variant: str, number: float) -> None:
    """Other numbers have no JSON; the sentence names the field."""
    client = plane.client(variant)
    client.node.metadata.fields["x"].number_value = number
    await client.subscribe("cds")
    code, reason = await client.ended()
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert reason.startswith("node.metadata cannot be read: ")
    assert plane.cache.nodes() == []


async def test_what_a_node_says_of_itself_is_bounded(plane: Plane, variant: str) -> None:
    """It is remembered for as long as the node is."""
    client = plane.client(variant)
    client.node.metadata.fields["x"].string_value = "x" * MAX_METADATA_BYTES
    await client.subscribe("cds")
    code, reason = await client.ended()
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert reason == f"node.metadata must be at most {MAX_METADATA_BYTES} bytes"


async def test_a_client_that_says_nothing_is_closed(variant: str) -> None:
    """Before it says who it is, it cannot be counted to a node: it has only so long."""
    async with control_plane(answer_s=0.2) as plane:
        client = plane.client(variant)
        assert await client.ended() == (grpc.StatusCode.DEADLINE_EXCEEDED, "no request came for 0.2 s")
        assert plane.metric("gaugeway_xds_refused_streams_total", reason="silent") == 1


async def test_clients_that_say_nothing_count_as_streams(variant: str) -> None:
    """However many open streams and keep silent: there is a limit, and room again when they go."""
    async with control_plane(max_streams=2) as plane:
        plane.publish(cds={"a": "1"})
        silent = [plane.client(variant) for _ in range(8)]
        done, waiting = await asyncio.wait([asyncio.create_task(each.ended()) for each in silent], timeout=1)
        assert {task.result()[0] for task in done} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert len(waiting) == 2
        for each in silent:
            await each.close()
        await asyncio.gather(*waiting, return_exceptions=True)

        async def let_in() -> bool:
            client = plane.client(variant)
            await client.subscribe("cds")
            return await client.call.read() is not grpc.aio.EOF  # type: ignore[attr-defined]

        assert await let_in() or await let_in()


async def test_names_are_bounded(plane: Plane, variant: str) -> None:
    """A million of them is no fleet: the stream ends before anything is done about them."""
    client = plane.client(variant)
    await client.say("eds", **client.first(*(str(number) for number in range(MAX_NAMES + 1))))
    code, reason = await client.ended()
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, f"more than {MAX_NAMES} names of one type")


async def test_statements_are_bounded(plane: Plane) -> None:
    """Delta: so are the versions that a client states to have."""
    client = plane.client("delta")
    has = {str(number): "1" for number in range(MAX_NAMES + 1)}
    await client.say("cds", initial_resource_versions=has)
    code, reason = await client.ended()
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, f"more than {MAX_NAMES} names of one type")


async def test_names_are_bounded_over_many_requests(plane: Plane) -> None:
    """Delta: interest adds up. What is dropped makes room, what is asked for again takes none."""
    client = plane.client("delta")
    names = [f"n{number}" for number in range(MAX_NAMES)]
    half = MAX_NAMES // 2
    await client.say("eds", resource_names_subscribe=names[:half])
    await client.say("eds", resource_names_subscribe=names[half:])
    await client.say("eds", resource_names_subscribe=names[half:])
    await client.say("eds", resource_names_unsubscribe=names[:1], resource_names_subscribe=["another"])
    await client.say("eds", resource_names_subscribe=["one-too-many"])
    code, reason = await client.ended()
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, f"more than {MAX_NAMES} names of one type")


async def test_a_name_is_bounded(plane: Plane, variant: str) -> None:
    """Each is remembered and said again: none may be longer than what anybody calls a resource."""
    client = plane.client(variant)
    plane.publish(eds={"x" * MAX_NAME: "1"})
    await client.subscribe("eds", "x" * MAX_NAME)
    await client.takes("eds", {"x" * MAX_NAME: "1"})
    await client.say("eds", **client.first("x" * (MAX_NAME + 1)))
    code, reason = await client.ended()
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert reason == f"a name of {MAX_NAME + 1} characters: at most {MAX_NAME} are taken"


async def test_names_that_are_not_there_go_in_pieces_too(plane: Plane) -> None:
    """Delta: to say that something is missing takes bytes as well; gRPC clients take 4 MB."""
    client = plane.client("delta")
    plane.publish(eds={})
    names = [f"{number}-{'x' * 900}" for number in range(6_000)]
    for first in range(0, len(names), 2_000):
        await client.subscribe("eds", *names[first : first + 2_000])
    heard = await client.drain()
    assert sorted(name for answer in heard for name in answer.removed) == sorted(names)
    assert all(sum(map(len, answer.removed)) < 1 << 21 for answer in heard)


async def test_types_that_nobody_knows_leave_nothing_behind(plane: Plane, variant: str) -> None:
    """A node that comes back with ever new ones is not remembered for them, nor are they counted by name."""
    plane.publish(cds={"a": "1"})
    stays = plane.client(variant, "lds")
    await stays.subscribe("lds")
    for turn in range(3):
        client = plane.client(variant)
        for number in range(10):
            await client.say(f"type.googleapis.com/t{turn}.x{number}", **client.first("*"))
            if variant == "delta":  # it is told that there is nothing
                assert not (await client.call.read()).resources
        await client.subscribe("cds")
        await client.takes("cds", {"a": "1"})
        await client.close()
        await plane.until("it is gone", lambda: len(plane.cache.connections()) == 1)
    await stays.close()
    await plane.disconnected()
    assert plane.node().types.keys() == {TYPES["cds"], TYPES["lds"]}
    await (again := plane.client(variant)).subscribe("cds")
    await again.takes("cds", {"a": "1"})
    assert plane.cache.connections()[0].session.past().keys() <= {TYPES["cds"], TYPES["lds"]}
    samples = [sample for each in plane.registry.collect() for sample in each.samples]
    assert {each.labels.get("type", "other") for each in samples} == {"Cluster", "Listener", "other"}


async def test_nodes_are_bounded(variant: str) -> None:
    """Each is remembered when it is gone; one that is known may always come back."""
    async with control_plane(max_nodes=2) as plane:
        for node_id in ("envoy-1", "envoy-2", "envoy-1"):
            plane.publish(NodeKey(ENVOY_ROLE, node_id), cds={"a": "1"})
            client = plane.client(variant, node_id=node_id)
            await client.subscribe("cds")
            await client.takes("cds", {"a": "1"})
            await client.close()
            await plane.disconnected(NodeKey(ENVOY_ROLE, node_id))
        third = plane.client(variant, node_id="envoy-3")
        await third.subscribe("cds")
        assert await third.ended() == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "the control plane knows 2 nodes already, which is its limit",
        )
        plane.cache.forget(NodeKey(ENVOY_ROLE, "envoy-2"))
        plane.publish(NodeKey(ENVOY_ROLE, "envoy-3"), cds={"a": "1"})
        fourth = plane.client(variant, node_id="envoy-3")
        await fourth.subscribe("cds")
        await fourth.takes("cds", {"a": "1"})


async def test_a_storm_of_stale_answers_is_no_news(plane: Plane, variant: str) -> None:
    """Who looks after each change of a node is not woken for what says nothing."""
    revision = plane.publish(cds={"a": "1"})
    client = plane.client(variant)
    await client.subscribe("cds")
    await client.takes("cds", {"a": "1"})
    await client.expect_silence()
    await plane.acked(revision, "cds")
    plane.cache.take_news()
    before = plane.cache.changes
    for _ in range(2_000):
        await client.say("cds", response_nonce="of-another-stream", **client.names("cds"))
    await client.say("lds")
    await plane.until("the last one came", lambda: plane.cache.connections()[0].session.asked(TYPES["lds"]))
    assert plane.cache.changes - before <= 4
