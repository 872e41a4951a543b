"""Hostile clients and odd ones: what they can cost is bounded, and they are told what is wrong."""

from __future__ import annotations

from control_plane.xds.rejection import MAX_ERROR
from tests.conformance.plane import Plane
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
