"""A refused resource is contained: never sent again as it is, and everything else flows."""

from __future__ import annotations

import pytest

from control_plane.xds.node import NodeKey
from control_plane.xds.rejection import Rejection
from tests.conformance.client import Client
from tests.conformance.plane import Plane
from wire.gen.gaugeway.envoy.v1 import discovery_pb2
from wire.names import ENVOY_ROLE

REFUSED = "Error adding/updating cluster(s) b: no such thing"


async def refused(plane: Plane, variant: str) -> Client:
    """Return a client that runs a@2, and b@1 since it refused b@bad."""
    plane.publish(cds={"a": "1", "b": "1"}, lds={"l": "1"})
    client = plane.client(variant)
    await client.subscribe("cds", "*")
    await client.takes("cds", {"a": "1", "b": "1"})
    plane.publish(cds={"a": "2", "b": "bad"}, lds={"l": "1"})
    await client.nack(await client.expect("cds", {"a": "2", "b": "bad"}), REFUSED)
    # What is good in it is affirmed: what the client states on its next stream is true.
    await client.takes("cds", {"a": "2"}, keeps={"b": "1"})
    return client


async def test_the_good_part_of_a_refused_response_counts(plane: Plane, variant: str) -> None:
    """A NACK is partial: it holds back what it names, with Envoy's own words; the rest is in force."""
    client = await refused(plane, variant)
    await client.expect_silence()
    assert plane.of("cds").acked == {"a": "2", "b": "1"}
    assert plane.of("cds").rejected == {"b": Rejection("bad", REFUSED)}
    assert client.have["cds"] == {"a": "2", "b": "1"}


async def test_what_was_never_accepted_is_left_out(plane: Plane, variant: str) -> None:
    """There is no last accepted version of what is new: nothing of it is sent again."""
    plane.publish(cds={"a": "1", "b": "bad"})
    client = plane.client(variant)
    await client.subscribe("cds")
    await client.nack(await client.expect("cds", {"a": "1", "b": "bad"}), REFUSED)
    await client.takes("cds", {"a": "1"})
    await client.expect_silence()
    assert client.have["cds"] == plane.of("cds").acked == {"a": "1"}


async def test_a_refused_version_is_never_sent_again(plane: Plane, variant: str) -> None:
    """Not with later changes of others, and not when it is asked for again."""
    client = await refused(plane, variant)
    plane.publish(cds={"a": "3", "b": "bad", "c": "1"}, lds={"l": "1"})
    await client.takes("cds", {"a": "3", "c": "1"}, keeps={"b": "1"})
    await client.subscribe("cds", "b")  # with `*` from before
    await client.expect_silence()
    assert client.have["cds"] == {"a": "3", "b": "1", "c": "1"}


async def test_a_change_lifts_the_quarantine(plane: Plane, variant: str) -> None:
    """It is by node, name and version: another version is another chance."""
    client = await refused(plane, variant)
    revision = plane.publish(cds={"a": "2", "b": "good"}, lds={"l": "1"})
    await client.takes("cds", {"b": "good"}, keeps={"a": "2"})
    await plane.acked(revision, "cds")
    assert not plane.of("cds").rejected
    await client.expect_silence()


async def test_going_back_is_said_explicitly_in_delta(plane: Plane) -> None:
    """After a refusal the client may run a mixture: the accepted version is sent, not assumed."""
    client = await refused(plane, "delta")
    revision = plane.publish(cds={"a": "2", "b": "1"}, lds={"l": "1"})
    await client.takes("cds", {"b": "1"})
    await plane.acked(revision, "cds")


async def test_a_refused_resource_can_be_removed(plane: Plane, variant: str) -> None:
    """Its last accepted version goes."""
    client = await refused(plane, variant)
    revision = plane.publish(cds={"a": "2"}, lds={"l": "1"})
    await client.takes("cds", {}, removed=["b"], keeps={"a": "2"})
    await plane.acked(revision, "cds")
    assert not plane.of("cds").rejected


async def test_a_refusal_of_what_has_changed_since_holds_back_nothing(plane: Plane, variant: str) -> None:
    """The newer version goes out although the older one is refused."""
    plane.publish(cds={"b": "bad"})
    client = plane.client(variant)
    await client.subscribe("cds")
    bad = await client.expect("cds", {"b": "bad"})
    revision = plane.publish(cds={"b": "2"})
    await client.nack(bad, REFUSED)
    await client.takes("cds", {"b": "2"})
    await plane.acked(revision, "cds")
    await client.expect_silence()


async def test_a_refusal_that_names_nothing_is_narrowed_down(plane: Plane, variant: str) -> None:
    """Envoy drops a whole response for one malformed resource and may not say which."""
    plane.publish(cds={"a": "1", "b": "1", "c": "1"})
    client = plane.client(variant)
    await client.subscribe("cds")
    await client.takes("cds", {"a": "1", "b": "1", "c": "1"})
    error = "Proto constraint validation failed"
    plane.publish(cds={"a": "2", "b": "bad", "c": "2", "d": "1"})
    heard = await client.drain({"b": "bad"}, error)
    assert sum(answer.put.get("b") == "bad" for answer in heard) <= 4
    assert client.have["cds"] == {"a": "2", "b": "1", "c": "2", "d": "1"}
    assert plane.of("cds").rejected == {"b": Rejection("bad", error)}
    assert plane.of("cds").acked == {"a": "2", "b": "1", "c": "2", "d": "1"}


async def test_everything_else_flows_while_a_resource_is_refused(plane: Plane, variant: str) -> None:
    """Other resources, other types and other nodes have their changes as ever."""
    client = await refused(plane, variant)
    await client.subscribe("lds")
    await client.takes("lds", {"l": "1"})
    other, key = plane.client(variant, node_id="envoy-2"), NodeKey(ENVOY_ROLE, "envoy-2")
    plane.publish(key, cds={"b": "bad"})
    await other.subscribe("cds")
    await other.takes("cds", {"b": "bad"})
    for version in ("2", "3"):
        plane.publish(cds={"a": f"1{version}", "b": "bad"}, lds={"l": version})
        await client.takes("cds", {"a": f"1{version}"}, keeps={"b": "1"})
        await client.takes("lds", {"l": version})
        plane.publish(key, cds={"b": f"bad-{version}"})
        await other.takes("cds", {"b": f"bad-{version}"})
    assert plane.of("cds").rejected
    assert not plane.of("cds", key).rejected


async def test_endpoints_are_refused_by_themselves(plane: Plane, variant: str) -> None:
    """Of types that are not full state the last accepted version simply stays in force."""
    plane.publish(eds={"a": "1", "b": "1"})
    client = plane.client(variant)
    await client.subscribe("eds", "a", "b")
    await client.takes("eds", {"a": "1", "b": "1"})
    plane.publish(eds={"a": "1", "b": "bad"})
    await client.nack(await client.expect("eds", {"b": "bad"}), "b: malformed endpoints")
    await client.expect_silence()
    plane.publish(eds={"a": "2", "b": "bad"})
    await client.takes("eds", {"a": "2"})
    await client.expect_silence()
    assert plane.of("eds").rejected == {"b": Rejection("bad", "b: malformed endpoints")}


async def test_a_changed_cluster_gets_the_last_good_endpoints(plane: Plane, variant: str) -> None:
    """It warms until they come: the refused ones are replaced by those that it had before."""
    plane.publish(cds={"a": "1"}, eds={"a": "1"})
    client = plane.client(variant)
    await client.subscribe("cds")
    await client.takes("cds", {"a": "1"})
    await client.subscribe("eds", "a")
    await client.takes("eds", {"a": "1"})
    plane.publish(cds={"a": "1"}, eds={"a": "bad"})
    await client.nack(await client.expect("eds", {"a": "bad"}), "a: malformed endpoints")
    await plane.until("it is in", lambda: bool(plane.of("eds").rejected))
    plane.publish(cds={"a": "2"}, eds={"a": "bad"})
    cluster = await client.expect("cds", {"a": "2"})
    await client.takes("eds", {"a": "1"})
    await client.ack(cluster)
    await client.expect_silence()


async def test_refusals_are_counted_by_type(plane: Plane, variant: str) -> None:
    """One NACK is one in the metrics; an empty error text is one too."""
    client = await refused(plane, variant)
    labels = {"role": ENVOY_ROLE, "type": "Cluster"}
    assert plane.metric("gaugeway_xds_nacks_total", **labels) == 1
    plane.publish(cds={"a": "2", "b": "bad-2"}, lds={"l": "1"})
    answer = await client.expect("cds", {"b": "bad-2"}, keeps={"a": "2"})
    detail = discovery_pb2.Status()
    await client.say("cds", response_nonce=answer.nonce, error_detail=detail, **client.names("cds"))
    await plane.until("two", lambda: plane.metric("gaugeway_xds_nacks_total", **labels) == 2)
    assert plane.metric("gaugeway_xds_nacks_total", role=ENVOY_ROLE, type="Listener") == 0


async def test_the_quarantine_outlives_a_stream(plane: Plane, variant: str) -> None:
    """A client that states what it has is sent nothing of what it refused, or the loop begins again."""
    client = await refused(plane, variant)
    await client.expect_silence()
    for _ in range(2):
        await client.resume(plane.port)
        await client.expect_silence()
        assert plane.of("cds").rejected == {"b": Rejection("bad", REFUSED)}
    plane.publish(cds={"a": "2", "b": "good"}, lds={"l": "1"})
    await client.takes("cds", {"b": "good"}, keeps={"a": "2"})


async def test_a_client_that_comes_back_with_nothing_has_another_chance(plane: Plane, variant: str) -> None:
    """It was restarted, perhaps as a newer program: it is sent everything."""
    client = await refused(plane, variant)
    await client.resume(plane.port, states=False)
    await client.takes("cds", {"a": "2", "b": "bad"})
    await client.expect_silence()
    assert not plane.of("cds").rejected


@pytest.mark.parametrize("back", [{"a": "1"}, {"a": "1", "b": "1"}], ids=["new", "changed"])
async def test_going_back_to_what_the_client_runs_ends_a_refusal(
    plane: Plane, variant: str, back: dict[str, str]
) -> None:
    """What was refused is not in the snapshot any more: the client runs all of it."""
    plane.publish(cds=back)
    client = plane.client(variant)
    await client.subscribe("cds")
    await client.takes("cds", back)
    plane.publish(cds={"a": "1", "b": "bad"})
    await client.nack(await client.next(), REFUSED)
    await client.drain()
    revision = plane.publish(cds=back)
    await client.drain()
    assert client.have["cds"] == back
    assert not plane.of("cds").rejected
    await plane.acked(revision, "cds")
