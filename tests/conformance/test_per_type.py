"""The services for one type each: CDS, EDS, LDS, RDS, SDS, on the same server and from the same core."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest

from control_plane.xds.rejection import Rejection
from tests.conformance.client import PER_TYPE
from tests.conformance.plane import Plane, control_plane
from tests.conformance.resources import TYPES
from wire.gen.gaugeway.envoy.v1 import discovery_pb2
from wire.names import ENVOY_ROLE

SERVICES = ["cds", "eds", "lds", "rds", "sds"]
WILDCARDS = ("cds", "lds")


def wanted(alias: str) -> tuple[str, ...]:
    """Return what a client of a service subscribes to."""
    return () if alias in WILDCARDS else ("a", "b")


@pytest.mark.parametrize("alias", SERVICES)
async def test_a_service_serves_its_type(plane: Plane, variant: str, alias: str) -> None:
    """What there is, what changes, ACK and NACK, and nothing of what did not change."""
    plane.publish(**{alias: {"a": "1", "b": "1"}})
    client = plane.client(variant, alias)
    await client.subscribe(alias, *wanted(alias))
    await client.takes(alias, {"a": "1", "b": "1"})
    revision = plane.publish(**{alias: {"a": "1", "b": "2"}})
    await client.takes(alias, {"b": "2"}, keeps={"a": "1"})
    await plane.acked(revision, alias)
    plane.publish(**{alias: {"a": "2", "b": "bad"}})
    error = "b: no such thing"
    await client.nack(await client.expect(alias, {"a": "2", "b": "bad"}), error)
    # The good one once more, without the bad; in SotW with the last good version beside it.
    await client.takes(alias, {"a": "2", "b": "2"} if variant == "sotw" else {"a": "2"})
    plane.publish(**{alias: {"a": "3", "b": "bad"}})
    await client.takes(alias, {"a": "3"}, keeps={"b": "2"})
    await plane.until("all is in", lambda: plane.of(alias).acked == {"a": "3", "b": "2"})
    assert plane.of(alias).rejected == {"b": Rejection("bad", error)}
    assert plane.of(alias).variant == variant


@pytest.mark.parametrize("alias", SERVICES)
async def test_a_client_of_a_service_comes_back(plane: Plane, variant: str, alias: str) -> None:
    """It is sent nothing that it has, by the same control plane or by another one."""
    fleet = {alias: {"a": "1", "b": "1"}}
    plane.publish(**fleet)
    client = plane.client(variant, alias)
    await client.subscribe(alias, *wanted(alias))
    await client.takes(alias, fleet[alias])
    await plane.acked(1, alias)
    async with control_plane() as other:
        other.publish(**fleet)
        for place in (plane, other):
            await client.resume(place.port)
            await place.acked(1, alias)
            # The next that comes is the change: nothing came before it.
            place.publish(**{alias: {"a": "1", "b": "2"}})
            await client.takes(alias, {"b": "2"}, keeps={"a": "1"})
            place.publish(**fleet)
            await client.takes(alias, {"b": "1"}, keeps={"a": "1"})
            await place.acked(3, alias)
        await client.close()


async def test_a_node_may_have_a_stream_for_each_type(plane: Plane, variant: str) -> None:
    """They run side by side, and together they are what the node runs."""
    plane.publish(**{alias: {"a": "1", "b": "1"} for alias in SERVICES})
    clients = {alias: plane.client(variant, alias) for alias in SERVICES}
    for alias, client in clients.items():
        await client.subscribe(alias, *wanted(alias))
        await client.takes(alias, {"a": "1", "b": "1"})
    await plane.acked(1, *SERVICES)
    assert plane.node().types.keys() == {TYPES[alias] for alias in SERVICES}
    assert plane.metric("gaugeway_xds_connected_nodes", role=ENVOY_ROLE) == 1
    assert plane.metric("gaugeway_xds_streams", role=ENVOY_ROLE, variant=variant) == len(SERVICES)
    plane.publish(**{alias: {"a": "2", "b": "1"} for alias in SERVICES})
    for alias, client in clients.items():
        await client.takes(alias, {"a": "2"}, keeps={"b": "1"})
    await plane.acked(2, *SERVICES)
    for client in clients.values():
        await client.close()
    await plane.disconnected()
    assert plane.metric("gaugeway_xds_streams", role=ENVOY_ROLE, variant=variant) == 0


async def test_envoy_opens_a_stream_for_each_cluster_s_endpoints(plane: Plane, variant: str) -> None:
    """Without ADS each cluster asks on a stream of its own: none of them replaces another."""
    plane.publish(eds={"a": "1", "b": "1"})
    streams = {name: plane.client(variant, "eds") for name in ("a", "b")}
    for name, client in streams.items():
        await client.subscribe("eds", name)
        await client.takes("eds", {name: "1"})
    plane.publish(eds={"a": "2", "b": "2"})
    for name, client in streams.items():
        await client.takes("eds", {name: "2"})
    await plane.until("both are known", lambda: plane.of("eds").acked == {"a": "2", "b": "2"})


async def test_a_second_stream_of_a_service_replaces_the_first_alone(plane: Plane, variant: str) -> None:
    """Streams of other services go on."""
    plane.publish(cds={"a": "1"}, lds={"l": "1"})
    first, listeners = plane.client(variant, "cds"), plane.client(variant, "lds")
    await first.subscribe("cds")
    await first.takes("cds", {"a": "1"})
    await listeners.subscribe("lds")
    await listeners.takes("lds", {"l": "1"})
    second = plane.client(variant, "cds")
    await second.subscribe("cds")
    await second.takes("cds", {"a": "1"})
    assert await first.ended() == (grpc.StatusCode.UNAVAILABLE, "the node opened another stream")
    plane.publish(cds={"a": "2"}, lds={"l": "2"})
    await second.takes("cds", {"a": "2"})
    await listeners.takes("lds", {"l": "2"})


@pytest.mark.parametrize("alias", SERVICES)
async def test_another_type_has_no_place_on_a_stream_of_one_type(
    plane: Plane, variant: str, alias: str
) -> None:
    """It ends the stream with a sentence; naming no type means the stream's own."""
    other = "rds" if alias != "rds" else "eds"
    plane.publish(**{alias: {"a": "1"}})
    client = plane.client(variant, alias)
    await client.subscribe(alias, *wanted(alias)[:1])
    await client.takes(alias, {"a": "1"})
    await client.subscribe(other, "a")
    assert await client.ended() == (
        grpc.StatusCode.INVALID_ARGUMENT,
        f"type_url {TYPES[other]}: this stream is about {TYPES[alias]} only",
    )
    client = plane.client(variant, alias)
    await client.say("", **client.first(*wanted(alias)[:1]))
    await client.expect(alias, {"a": "1"})


@pytest.mark.parametrize("alias", SERVICES)
async def test_unary_fetches_are_not_offered(plane: Plane, alias: str) -> None:
    """A client that polls is told so at once."""
    service, noun = PER_TYPE[alias]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{plane.port}") as channel:
        fetch = channel.unary_unary(
            f"/envoy.service.{service}/Fetch{noun}",
            request_serializer=discovery_pb2.DiscoveryRequest.SerializeToString,
            response_deserializer=discovery_pb2.DiscoveryResponse.FromString,
        )
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await fetch(discovery_pb2.DiscoveryRequest(type_url=TYPES[alias]))
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED
