"""What an answer means: nonces, ACK and NACK.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#ack-nack-and-resource-type-instance-version
"""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.xds.node import NodeKey
from control_plane.xds.rejection import Rejection
from tests.conformance.plane import Plane
from wire.gen.gaugeway.envoy.v1 import discovery_pb2
from wire.names import ENVOY_ROLE


async def test_an_ack_is_answered_with_silence(plane: Plane, variant: str) -> None:
    """What the client has is not sent again, and counts for the revision."""
    revision = plane.publish(cds={"a": "1"})
    client = plane.client(variant)
    await client.subscribe("cds")
    answer = await client.expect("cds", {"a": "1"})
    assert not plane.of("cds").acked
    await client.ack(answer)
    await plane.acked(revision, "cds")
    assert plane.of("cds").acked == {"a": "1"}
    await client.expect_silence()


async def test_nonces_are_never_used_twice_on_a_stream(plane: Plane, variant: str) -> None:
    """Each response of each type has its own."""
    plane.publish(cds={"a": "0"}, lds={"l": "0"})
    client = plane.client(variant)
    await client.subscribe("cds")
    await client.subscribe("lds")
    nonces = [(await client.takes(alias, {name: "0"})).nonce for alias, name in (("cds", "a"), ("lds", "l"))]
    for version in "123":
        plane.publish(cds={"a": version}, lds={"l": version})
        nonces.append((await client.takes("cds", {"a": version})).nonce)
        nonces.append((await client.takes("lds", {"l": version})).nonce)
    assert all(nonces)
    assert len(set(nonces)) == 8


async def test_a_nack_is_error_detail_and_nothing_else(plane: Plane, variant: str) -> None:
    """An empty error_detail refuses; a version that went back does not."""
    plane.publish(cds={"a": "1"}, eds={"e": "1"})
    client = plane.client(variant)
    await client.subscribe("eds", "e")
    first = await client.expect("eds", {"e": "1"})
    await client.say("eds", response_nonce=first.nonce, **client.names("eds"))  # SotW: with no version
    await plane.until("it counts as an ACK", lambda: plane.of("eds").acked == {"e": "1"})
    await client.subscribe("cds", "a")
    answer = await client.expect("cds", {"a": "1"})
    detail = discovery_pb2.Status()
    await client.say("cds", response_nonce=answer.nonce, error_detail=detail, **client.names("cds"))
    await plane.until("it counts as a NACK", lambda: "a" in plane.of("cds").rejected)
    assert plane.of("cds").rejected["a"] == Rejection("1", "refused without a reason (gRPC code 0)")


async def test_an_answer_to_an_older_response_is_none(plane: Plane, variant: str) -> None:
    """A stale nonce, be it of another stream, neither accepts nor refuses; nothing is sent for it."""
    plane.publish(eds={"a": "1"})
    client = plane.client(variant)
    await client.subscribe("eds", "a")
    answer = await client.takes("eds", {"a": "1"})
    plane.publish(eds={"a": "2"})
    newest = await client.expect("eds", {"a": "2"})
    for nonce in (answer.nonce, "of-another-stream"):
        detail = discovery_pb2.Status(message="a: it is the last stream's")
        await client.say("eds", response_nonce=nonce, error_detail=detail, **client.names("eds"))
        await client.say("eds", response_nonce=nonce, **client.names("eds"))
    await client.expect_silence()
    assert (plane.of("eds").acked, plane.of("eds").rejected) == ({"a": "1"}, {})
    await client.ack(newest)
    await plane.until("the newest is accepted", lambda: plane.of("eds").acked == {"a": "2"})


async def test_names_count_even_with_a_stale_nonce(plane: Plane, variant: str) -> None:
    """A request that crossed a response still says what is wanted."""
    plane.publish(eds={"a": "1", "b": "1", "c": "1"})
    client = plane.client(variant)
    await client.subscribe("eds", "a", "c")
    first = await client.takes("eds", {"a": "1", "c": "1"})
    plane.publish(eds={"a": "2", "b": "1", "c": "1"})
    crossing = await client.expect("eds", {"a": "2"})
    names: dict[str, Any]
    if variant == "delta":
        names = {"resource_names_subscribe": ["b"], "resource_names_unsubscribe": ["c"]}
    else:
        names = {"resource_names": ["a", "b"], "version_info": first.version}
    await client.say("eds", response_nonce=first.nonce, **names)
    client.asked["eds"] = ["a", "b"]
    if variant == "delta":
        await client.takes("eds", {"b": "1"})
        await client.ack(crossing)
    else:  # one response in flight for a type
        await client.expect_silence()
        await client.ack(crossing)
        await client.takes("eds", {"b": "1"})
    plane.publish(eds={"a": "2", "b": "1", "c": "2"})
    await client.expect_silence()


@pytest.mark.parametrize("error", [None, "a: no such thing"])
async def test_an_answer_may_ask_for_more(plane: Plane, variant: str, error: str | None) -> None:
    """Envoy accepts or refuses, and says whatever else it wants, in one request."""
    plane.publish(eds={"a": "1", "b": "1"})
    client = plane.client(variant)
    await client.subscribe("eds", "a")
    answer = await client.expect("eds", {"a": "1"})
    fields: dict[str, Any] = {"response_nonce": answer.nonce}
    if error is not None:
        fields["error_detail"] = discovery_pb2.Status(message=error)
    elif variant == "sotw":
        fields["version_info"] = answer.version
    client.asked["eds"] = ["a", "b"]
    more = client.first("b") if variant == "delta" else client.names("eds")
    await client.say("eds", **fields, **more)
    await client.takes("eds", {"b": "1"})
    await client.expect_silence()
    assert plane.of("eds").acked == ({"b": "1"} if error else {"a": "1", "b": "1"})
    assert plane.of("eds").rejected.keys() == ({"a"} if error else set())


async def test_a_sotw_version_is_its_content(plane: Plane) -> None:
    """Equal content has an equal version_info, now, later and elsewhere; another content another."""
    plane.publish(cds={"a": "1", "b": "1"})
    client = plane.client("sotw")
    await client.subscribe("cds")
    versions = [(await client.takes("cds", {"a": "1", "b": "1"})).version]
    for version in ("2", "1"):
        plane.publish(cds={"a": version, "b": "1"})
        versions.append((await client.takes("cds", {"a": version}, keeps={"b": "1"})).version)
    assert versions[0] == versions[2] != versions[1]
    other = plane.client("sotw", node_id="envoy-2")
    plane.publish(NodeKey(ENVOY_ROLE, "envoy-2"), cds={"b": "1", "a": "1"})
    await other.subscribe("cds")
    assert (await other.takes("cds", {"a": "1", "b": "1"})).version == versions[0]


async def test_a_change_while_a_sotw_response_is_unanswered_waits_for_the_answer(plane: Plane) -> None:
    """One response of a type is in flight; what changes meanwhile goes out as its newest state."""
    plane.publish(cds={"a": "1"})
    client = plane.client("sotw")
    await client.subscribe("cds")
    answer = await client.expect("cds", {"a": "1"})
    for version in ("2", "3", "4"):
        plane.publish(cds={"a": version})
    await client.expect_silence()
    await client.ack(answer)
    await client.takes("cds", {"a": "4"})
    await client.expect_silence()


async def test_delta_responses_of_a_type_do_not_wait_for_each_other(plane: Plane) -> None:
    """A change goes out while the answer to the one before is withheld."""
    plane.publish(cds={"a": "1", "b": "1"})
    client = plane.client("delta")
    await client.subscribe("cds")
    first = await client.expect("cds", {"a": "1", "b": "1"})
    revision = plane.publish(cds={"a": "2", "b": "1"})
    second = await client.expect("cds", {"a": "2"})
    await client.ack(first)
    await client.ack(second)
    await plane.until("both are in", lambda: plane.of("cds").acked == {"a": "2", "b": "1"})
    plane.publish(cds={"a": "2", "b": "2"})
    await client.takes("cds", {"b": "2"})
    await plane.acked(revision + 1, "cds")


async def test_types_are_independent(plane: Plane, variant: str) -> None:
    """A type whose answer is withheld, or that is refused, holds up no other."""
    plane.publish(cds={"b": "1"}, lds={"l": "1"}, rds={"r": "1"})
    client = plane.client(variant)
    await client.subscribe("cds")
    await client.expect("cds", {"b": "1"})  # never answered
    await client.subscribe("lds")
    await client.nack(await client.expect("lds", {"l": "1"}), "Error adding/updating listener(s) l: no")
    await client.subscribe("rds", "r")
    await client.takes("rds", {"r": "1"})
    plane.publish(cds={"b": "1"}, lds={"l": "1"}, rds={"r": "2"})
    await client.takes("rds", {"r": "2"})
