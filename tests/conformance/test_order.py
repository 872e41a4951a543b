"""Order between types: CDS, EDS, LDS, RDS; make before break; endpoints after their cluster.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations
"""

from __future__ import annotations

from tests.conformance.client import Client
from tests.conformance.plane import Plane


async def subscribed(plane: Plane, variant: str, names: tuple[str, ...] = ("a",)) -> Client:
    """Return a client that asked for everything as Envoy does, and has it."""
    client = plane.client(variant)
    fleet = dict.fromkeys(names, "1")
    await client.subscribe("cds", "*")
    await client.takes("cds", fleet)
    await client.subscribe("eds", *names)
    await client.takes("eds", fleet)
    await client.subscribe("lds", "*")
    await client.takes("lds", {"l": "1"})
    await client.subscribe("rds", "r")
    await client.takes("rds", {"r": "1"})
    await client.expect_silence()
    return client


async def test_types_go_out_in_order_and_wait_for_no_answer(plane: Plane, variant: str) -> None:
    """Whatever the order of asking, CDS, EDS, LDS, RDS come in it, before anything is answered."""
    client = plane.client(variant)
    for alias, names in (("rds", ["a"]), ("lds", ["*"]), ("eds", ["a"]), ("cds", ["*"])):
        await client.subscribe(alias, *names)
    await plane.until("all asked", lambda: bool(plane.cache.nodes() and len(plane.node().types) == 4))
    plane.publish(cds={"a": "1"}, eds={"a": "1"}, lds={"a": "1"}, rds={"a": "1"})
    for alias in ("cds", "eds", "lds", "rds"):
        await client.expect(alias, {"a": "1"})


async def test_endpoints_do_not_wait_for_the_clusters_to_be_acknowledged(plane: Plane, variant: str) -> None:
    """Envoy withholds the answer to a cluster until the endpoints came and it is warm."""
    plane.publish(cds={"a": "1"}, eds={"a": "1"})
    client = plane.client(variant)
    await client.subscribe("cds", "*")
    cluster = await client.expect("cds", {"a": "1"})
    await client.subscribe("eds", "a")
    await client.takes("eds", {"a": "1"})
    await client.ack(cluster)
    await client.expect_silence()


async def test_a_changed_cluster_gets_its_endpoints_again(plane: Plane, variant: str) -> None:
    """In Delta Envoy does not ask for them again; in SotW it repeats a request that was answered."""
    plane.publish(cds={"a": "1", "b": "1"}, eds={"a": "1", "b": "1"}, lds={"l": "1"}, rds={"r": "1"})
    client = await subscribed(plane, variant, ("a", "b"))
    revision = plane.publish(
        cds={"a": "2", "b": "1"}, eds={"a": "1", "b": "1"}, lds={"l": "1"}, rds={"r": "1"}
    )
    cluster = await client.expect("cds", {"a": "2"}, keeps={"b": "1"})
    if variant == "sotw":
        await client.subscribe("eds")
    await client.takes("eds", {"a": "1"})
    await client.ack(cluster)
    await plane.acked(revision, "cds", "eds", "lds", "rds")
    await client.expect_silence()


async def test_a_repeated_endpoints_request_is_answered_while_the_cluster_warms(plane: Plane) -> None:
    """SotW: the same names, version and nonce again are no ACK, as often as Envoy asks; later they are."""
    plane.publish(cds={"a": "1"}, eds={"a": "1"}, lds={"l": "1"}, rds={"r": "1"})
    client = await subscribed(plane, "sotw")
    await client.subscribe("eds")
    await client.expect_silence()  # nothing warms
    for version in ("2", "3"):
        plane.publish(cds={"a": version}, eds={"a": "1"}, lds={"l": "1"}, rds={"r": "1"})
        cluster = await client.expect("cds", {"a": version})
        await client.subscribe("eds")
        await client.takes("eds", {"a": "1"})
        await client.ack(cluster)
        await client.expect_silence()


async def test_endpoints_follow_a_changed_cluster_over_a_reconnect(plane: Plane, variant: str) -> None:
    """The cluster may change while the client is away, and its endpoints not."""
    plane.publish(cds={"a": "1"}, eds={"a": "1"}, lds={"l": "1"}, rds={"r": "1"})
    client = await subscribed(plane, variant)
    await client.close()
    await plane.disconnected()
    plane.publish(cds={"a": "2"}, eds={"a": "1"}, lds={"l": "1"}, rds={"r": "1"})
    await client.resume(plane.port)
    cluster = await client.expect("cds", {"a": "2"})
    await client.takes("eds", {"a": "1"})
    await client.ack(cluster)
    await client.expect_silence()


async def test_endpoints_follow_a_cluster_that_was_warming_when_the_stream_broke(
    plane: Plane, variant: str
) -> None:
    """Envoy asks for clusters again only when it is warm: it states endpoints that it needs anew."""
    plane.publish(cds={"a": "1"}, eds={"a": "1"}, lds={"l": "1"}, rds={"r": "1"})
    client = await subscribed(plane, variant)
    plane.publish(cds={"a": "2"}, eds={"a": "1"}, lds={"l": "1"}, rds={"r": "1"})
    await client.expect("cds", {"a": "2"})
    await client.close()
    await plane.disconnected()
    client.open(plane.port)
    await client.restate("eds")
    await client.takes("eds", {"a": "1"})
    client.have["cds"] = {"a": "2"}  # warm at last
    await client.restate("cds")
    await client.drain()
    assert client.have["cds"] == {"a": "2"}


async def test_a_cluster_goes_last(plane: Plane, variant: str) -> None:
    """Make before break: the new one is there before its routes; the old one goes when they are in force."""
    fleet = {"eds": {"old": "1"}, "lds": {"l": "1"}, "rds": {"r": "1"}}
    plane.publish(cds={"old": "1"}, **fleet)
    client = await subscribed(plane, variant, ("old",))
    fleet = {"eds": {"new": "1"}, "lds": {"l": "1"}, "rds": {"r": "to-new"}}
    revision = plane.publish(cds={"new": "1"}, **fleet)
    await client.takes("cds", {"new": "1"}, keeps={"old": "1"})
    routes = await client.expect("rds", {"r": "to-new"})
    await client.subscribe("eds", "new")
    await client.takes("eds", {"new": "1"})
    await client.expect_silence()  # the routes are not answered yet
    await client.ack(routes)
    if variant == "delta":
        await client.takes("eds", {}, removed=["old"])
    await client.takes("cds", {}, removed=["old"], keeps={"new": "1"})
    await client.unsubscribe("eds", "old")
    await plane.acked(revision, "cds", "lds", "rds")
    await client.expect_silence()


async def test_clusters_come_and_go_before_listeners_are_asked_for(plane: Plane, variant: str) -> None:
    """Envoy asks for listeners only when its first clusters are warm: nothing may wait for that."""
    plane.publish(cds={"a": "1", "b": "1"}, eds={"a": "1", "b": "1"}, lds={"l": "1"}, rds={"r": "1"})
    client = plane.client(variant)
    await client.subscribe("cds", "*")
    await client.takes("cds", {"a": "1", "b": "1"})
    await client.subscribe("eds", "a", "b")
    await client.takes("eds", {"a": "1", "b": "1"})
    plane.publish(cds={"a": "1"}, eds={"a": "1"}, lds={"l": "1"}, rds={"r": "1"})
    if variant == "delta":
        await client.takes("eds", {}, removed=["b"])
    await client.takes("cds", {}, removed=["b"], keeps={"a": "1"})
    await client.unsubscribe("eds", "b")
    await client.subscribe("lds", "*")
    await client.takes("lds", {"l": "1"})
    await client.expect_silence()


async def test_when_all_clusters_have_gone_no_endpoints_are_meant(plane: Plane, variant: str) -> None:
    """SotW Envoy then asks for endpoints with no names and no nonce: that is no wildcard."""
    plane.publish(cds={"a": "1"}, eds={"a": "1"}, lds={"l": "1"}, rds={"r": "1"})
    client = await subscribed(plane, variant)
    plane.publish(cds={}, eds={}, lds={"l": "1"}, rds={"r": "1"})
    if variant == "delta":
        await client.takes("eds", {}, removed=["a"])
    await client.takes("cds", {}, removed=["a"])
    await client.unsubscribe("eds", "a")
    await client.say("eds")
    await client.expect_silence()
    plane.publish(cds={"b": "1"}, eds={"b": "1"}, lds={"l": "1"}, rds={"r": "1"})
    await client.takes("cds", {"b": "1"})
    await client.expect_silence()
    await client.subscribe("eds", "b")
    await client.takes("eds", {"b": "1"})


async def test_a_cluster_that_goes_before_it_is_warm_holds_up_nothing(plane: Plane, variant: str) -> None:
    """Envoy waits for its endpoints and answers no cluster meanwhile: it must hear of one or the other."""
    plane.publish(cds={"a": "1"}, eds={"a": "1"}, lds={"l": "1"}, rds={"r": "1"})
    client = await subscribed(plane, variant)
    plane.publish(cds={"a": "1", "b": "1"}, eds={"a": "1", "b": "1"}, lds={"l": "1"}, rds={"r": "1"})
    clusters = await client.expect("cds", {"b": "1"}, keeps={"a": "1"})
    revision = plane.publish(cds={"a": "1"}, eds={"a": "1"}, lds={"l": "1"}, rds={"r": "1"})
    await client.subscribe("eds", "b")
    answer = await client.next()
    assert answer.alias in {"eds", "cds"}
    assert answer.alias == "cds" or "b" in answer.put or "b" in answer.removed
    if variant == "delta" or answer.alias == "eds":
        await client.ack(clusters)
    await client.ack(answer)
    await client.drain()
    await client.unsubscribe("eds", "b")
    await client.drain()
    assert client.have["cds"] == {"a": "1"}
    await plane.acked(revision, "cds", "eds")


async def test_an_empty_assignment_drains_while_its_cluster_stays(plane: Plane, variant: str) -> None:
    """A host without sensors keeps cluster and assignment: a change of endpoints alone goes out."""
    plane.publish(cds={"a": "1"}, eds={"a": "1"}, lds={"l": "1"}, rds={"r": "1"})
    client = await subscribed(plane, variant)
    revision = plane.publish(cds={"a": "1"}, eds={"a": "empty"}, lds={"l": "1"}, rds={"r": "1"})
    await client.takes("eds", {"a": "empty"})
    await plane.acked(revision, "cds", "eds")
    await client.expect_silence()


async def test_workers_get_a_shard_before_its_sensors_and_lose_it_after_them(
    plane: Plane, variant: str
) -> None:
    """Policy, lease, assignments; a lease goes only when its sensors are confirmed to be gone."""
    revision = plane.publish(policy={"default": "1"}, lease={"0": "1"}, sensor={"s": "1"})
    client = plane.client(variant)
    for alias, name in (("sensor", "s"), ("lease", "0"), ("policy", "default")):
        await client.subscribe(alias, "*")
        await client.takes(alias, {name: "1"})
    await plane.acked(revision, "policy", "lease", "sensor")
    plane.publish(policy={"default": "2"}, lease={"0": "2"}, sensor={"s": "2"})
    for alias, name in (("policy", "default"), ("lease", "0"), ("sensor", "s")):
        await client.takes(alias, {name: "2"})
    plane.publish(policy={"default": "2"}, lease={}, sensor={})
    if variant == "sotw":
        return  # workers speak Delta; what is not full state cannot be removed in SotW
    gone = await client.expect("sensor", {}, removed=["s"])
    await client.expect_silence()
    await client.ack(gone)
    await client.takes("lease", {}, removed=["0"])
