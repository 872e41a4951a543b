"""A client that comes back is sent what it lacks: after a broken stream, a restart, to another replica."""

from __future__ import annotations

import grpc
import pytest

from tests.conformance.client import Client
from tests.conformance.plane import Plane, control_plane
from tests.conformance.resources import TYPES, Fleet
from wire.names import ENVOY_ROLE

FLEET: Fleet = {
    "cds": {"a": "1", "b": "1"},
    "eds": {"a": "1", "b": "1"},
    "lds": {"l": "1"},
    "rds": {"r": "1"},
}


async def running(plane: Plane, variant: str) -> Client:
    """Return a client that runs FLEET."""
    revision = plane.publish(**FLEET)
    client = plane.client(variant)
    for alias, names in (("cds", ["*"]), ("eds", ["a", "b"]), ("lds", ["*"]), ("rds", ["r"])):
        await client.subscribe(alias, *names)
        await client.takes(alias, FLEET[alias])
    await plane.acked(revision, *FLEET)
    return client


def pushes(plane: Plane) -> float:
    """Return how many responses went to Envoys, but for the suite's own markers."""
    types = ("Cluster", "ClusterLoadAssignment", "Listener", "RouteConfiguration")
    return sum(plane.metric("gaugeway_xds_pushes_total", role=ENVOY_ROLE, type=each) for each in types)


async def test_a_reconnect_with_everything_gets_nothing(plane: Plane, variant: str) -> None:
    """What it states it has is believed, and counts as accepted."""
    client = await running(plane, variant)
    before = pushes(plane)
    for _ in range(2):
        await client.resume(plane.port)
        await client.expect_silence()
        await plane.acked(1, *FLEET)
    assert pushes(plane) == before


@pytest.mark.parametrize("revision", [0, 7], ids=["restarted", "replica"])
async def test_another_control_plane_with_the_same_content_sends_nothing(
    plane: Plane, variant: str, revision: int
) -> None:
    """Versions are content hashes: a restarted one, or a replica with other revisions, agrees."""
    client = await running(plane, variant)
    async with control_plane() as other:
        other.revision = revision
        other.publish(**{alias: dict(sorted(FLEET[alias].items(), reverse=True)) for alias in sorted(FLEET)})
        await client.resume(other.port)
        await client.expect_silence()
        assert pushes(other) == 0
        await other.acked(revision + 1, *FLEET)
        assert other.of("eds").acked == {"a": "1", "b": "1"}
        other.publish(**{**FLEET, "eds": {"a": "2", "b": "1"}})
        await client.takes("eds", {"a": "2"})
        await client.close()


async def test_a_control_plane_that_still_loads_says_nothing(plane: Plane, variant: str) -> None:
    """Until it has published, a client keeps what it has: no empty configuration after a restart."""
    client = await running(plane, variant)
    async with control_plane() as other:
        await client.resume(other.port)
        await other.until("it has asked", lambda: bool(other.cache.nodes() and len(other.node().types) == 4))
        other.publish(**FLEET)
        await client.expect_silence()
        await client.close()


async def test_the_difference_is_sent(plane: Plane, variant: str) -> None:
    """What changed, came and went while the client was away."""
    client = await running(plane, variant)
    await client.close()
    await plane.disconnected()
    revision = plane.publish(
        cds={"a": "1", "c": "1"}, eds={"a": "2", "c": "1"}, lds={"l": "1"}, rds={"r": "1"}
    )
    await client.resume(plane.port)
    await client.drain()
    assert client.have["cds"] == {"a": "1", "c": "1"}
    assert client.have["eds"]["a"] == "2"
    await client.unsubscribe("eds", "b")
    await client.subscribe("eds", "c")
    await client.takes("eds", {"c": "1"})
    await plane.acked(revision, *FLEET)
    await client.expect_silence()


async def test_a_client_that_comes_back_with_nothing_gets_everything(plane: Plane, variant: str) -> None:
    """An Envoy that was restarted states nothing, whatever it was sent before."""
    client = await running(plane, variant)
    await client.resume(plane.port, states=False)
    heard = await client.drain()
    assert [answer.alias for answer in heard] == list(FLEET)
    assert {alias: client.have[alias] for alias in FLEET} == FLEET


async def test_what_was_not_answered_is_sent_again(plane: Plane, variant: str) -> None:
    """A response that was under way when the stream broke may have been lost, or applied."""
    client = await running(plane, variant)
    plane.publish(**{**FLEET, "rds": {"r": "2"}})
    await client.expect("rds", {"r": "2"})
    await client.close()
    await plane.disconnected()
    plane.publish(**FLEET)  # back: the client states r@1, and may run r@2
    await client.resume(plane.port)
    await client.takes("rds", {"r": "1"})
    await client.expect_silence()


async def test_what_a_refused_response_brought_is_remembered(plane: Plane, variant: str) -> None:
    """A partial NACK applies the good resources, and the next stream's statement does not list them."""
    client = await running(plane, variant)
    plane.publish(**{**FLEET, "cds": {"a": "2", "b": "bad"}})
    answer = await client.expect("cds", {"a": "2", "b": "bad"})
    await client.nack(answer, "Error adding/updating cluster(s) b: no")
    await plane.until("it is in", lambda: "b" in plane.of("cds").rejected)
    await client.close()  # before it answered, or even saw, anything further
    await plane.disconnected()
    plane.publish(**FLEET)
    await client.resume(plane.port)  # states a@1, b@1; runs a@2
    heard = await client.drain()
    assert "1" in {answer.put.get("a") for answer in heard if answer.alias == "cds"}
    assert client.have["cds"] == plane.of("cds").acked == FLEET["cds"]


async def test_a_statement_of_what_is_not_asked_for_is_ignored(plane: Plane) -> None:
    """Delta: versions count only for what is wanted; the rest is neither sent nor said to be gone."""
    plane.publish(**FLEET)
    client = plane.client("delta")
    client.have["rds"] = {"r": "1", "b": "0", "unheard-of": "1"}
    client.asked["rds"] = ["r"]
    await client.restate("rds")
    await client.expect_silence()
    assert plane.of("rds").acked == {"r": "1"}


async def test_a_client_that_changes_its_variant_gets_everything(plane: Plane, variant: str) -> None:
    """Reconfigured from one to the other, it states nothing that the other would understand."""
    await (await running(plane, variant)).close()
    await plane.disconnected()
    other = plane.client("sotw" if variant == "delta" else "delta")
    for alias, names in (("cds", []), ("eds", ["a", "b"]), ("lds", []), ("rds", ["r"])):
        await other.subscribe(alias, *names)
        await other.takes(alias, FLEET[alias])
    await other.expect_silence()


async def test_a_second_stream_replaces_the_first(plane: Plane, variant: str) -> None:
    """One of an old connection must not go on beside it; the old one is told why it ends."""
    first = await running(plane, variant)
    second = plane.client(variant)
    await second.subscribe("cds")
    await second.takes("cds", FLEET["cds"])
    code, reason = await first.ended()
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "the node opened another stream")
    plane.publish(**{**FLEET, "cds": {"a": "2", "b": "1"}})
    await second.takes("cds", {"a": "2"}, keeps={"b": "1"})


async def test_a_control_plane_that_stops_ends_its_streams(variant: str) -> None:
    """With UNAVAILABLE: clients go on with what they have and come back."""
    async with control_plane() as plane:
        client = await running(plane, variant)
        await plane.server.stop()
        code, reason = await client.ended()
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "the control plane is stopping")


async def test_what_was_good_stays_though_it_went_bad_while_the_client_was_away(
    plane: Plane, variant: str
) -> None:
    """The last good version is that of the stream before: nothing takes it from the client."""
    client = await running(plane, variant)
    await client.close()
    await plane.disconnected()
    plane.publish(**{**FLEET, "cds": {"a": "2", "b": "bad"}})
    await client.resume(plane.port)
    heard = await client.drain({"b": "bad"}, "Error adding/updating cluster(s) b: no")
    assert client.have["cds"] == {"a": "2", "b": "1"}
    assert all("b" in answer.put for answer in heard if answer.alias == "cds" and variant == "sotw")
    revision = plane.publish(**{**FLEET, "cds": {"a": "2", "b": "1"}})
    await client.drain()
    assert client.have["cds"] == {"a": "2", "b": "1"}
    await plane.acked(revision, *FLEET)


@pytest.mark.parametrize(
    "error", ["Error adding/updating cluster(s) b: no", "Proto constraint validation failed"]
)
async def test_a_new_control_plane_that_knows_only_the_bad_one_recovers(
    plane: Plane, variant: str, error: str
) -> None:
    """What the client ran before cannot be known; when there is a good version again, it has it."""
    client = await running(plane, variant)
    async with control_plane() as other:
        other.publish(**{**FLEET, "cds": {"a": "2", "b": "bad"}})
        await client.resume(other.port)
        await client.drain({"b": "bad"}, error)
        assert client.have["cds"]["a"] == "2"
        for good in ("1", "3"):
            revision = other.publish(**{**FLEET, "cds": {"a": "2", "b": good}})
            await client.drain()
            assert client.have["cds"] == {"a": "2", "b": good}
            await other.acked(revision, *FLEET)
        await client.close()


async def test_what_was_good_stays_though_the_bad_one_was_under_way_when_the_stream_broke(
    plane: Plane, variant: str
) -> None:
    """The client states the good one; of the bad one nothing was heard."""
    client = await running(plane, variant)
    plane.publish(**{**FLEET, "cds": {"a": "1", "b": "bad"}})
    await client.expect("cds", {"b": "bad"}, keeps={"a": "1"})
    await client.close()
    await plane.disconnected()
    await client.resume(plane.port)
    await client.drain({"b": "bad"}, "Error adding/updating cluster(s) b: no")
    plane.publish(**{**FLEET, "cds": {"a": "2", "b": "bad"}})
    heard = await client.drain({"b": "bad"}, "Error adding/updating cluster(s) b: no")
    assert [answer.put for answer in heard if answer.alias == "cds"] == [
        {"a": "2", "b": "1"} if variant == "sotw" else {"a": "2"}
    ]
    assert client.have["cds"] == {"a": "2", "b": "1"}


async def test_what_was_good_stays_over_several_broken_streams(plane: Plane, variant: str) -> None:
    """Each stream ends with something bad under way: the last good version of none is lost."""
    client = await running(plane, variant)
    error = "Error adding/updating cluster(s) b: no"
    bad = {"cds": {"a": "1", "b": "bad"}}
    plane.publish(**{**FLEET, **bad})
    await client.expect("cds", {"b": "bad"}, keeps={"a": "1"})
    for version in ("2", "3"):
        await client.resume(plane.port)
        await client.drain({"b": "bad"}, error)
        plane.publish(**{**FLEET, "cds": {"a": version, "b": "bad"}})
        assert "a" in (await client.next()).put
    await client.resume(plane.port)
    heard = await client.drain({"b": "bad"}, error)
    assert client.have["cds"] == {"a": "3", "b": "1"}
    assert all("b" in answer.put for answer in heard if answer.alias == "cds" and variant == "sotw")


async def test_what_was_good_stays_though_it_went_bad_before_the_new_stream_asked_for_it(
    plane: Plane, variant: str
) -> None:
    """An Envoy whose clusters warm asks for endpoints first: it is connected, but not yet about clusters."""
    client = await running(plane, variant)
    await client.close()
    await plane.disconnected()
    client.open(plane.port)
    await client.restate("eds")
    await plane.until(
        "it is connected", lambda: any(each.session.asked(TYPES["eds"]) for each in plane.cache.connections())
    )
    plane.publish(**{**FLEET, "cds": {"a": "2", "b": "bad"}})
    await client.restate("cds")
    heard = await client.drain({"b": "bad"}, "Error adding/updating cluster(s) b: no")
    assert client.have["cds"] == {"a": "2", "b": "1"}
    assert all("b" in answer.put for answer in heard if answer.alias == "cds" and variant == "sotw")
