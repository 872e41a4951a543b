"""What a client asks for, and what it then gets.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#how-the-client-specifies-what-resources-to-return
"""

from __future__ import annotations

import pytest

from tests.conformance.plane import Plane


@pytest.mark.parametrize("alias", ["cds", "lds"])
@pytest.mark.parametrize("names", [("*",), ()], ids=["star", "legacy"])
async def test_a_wildcard_gets_whatever_there_is(
    plane: Plane, variant: str, alias: str, names: tuple[str, ...]
) -> None:
    """`*`, or naming nothing at first, is sent everything, what comes later and what goes."""
    plane.publish(**{alias: {"a": "1", "b": "1"}})
    client = plane.client(variant)
    await client.subscribe(alias, *names)
    await client.takes(alias, {"a": "1", "b": "1"})
    await client.expect_silence()
    plane.publish(**{alias: {"a": "1", "b": "2", "c": "1"}})
    await client.takes(alias, {"b": "2", "c": "1"}, keeps={"a": "1"})
    plane.publish(**{alias: {"b": "2", "c": "1"}})
    await client.takes(alias, {}, removed=["a"], keeps={"b": "2", "c": "1"})
    await client.expect_silence()


async def test_an_empty_wildcard_is_answered_once(plane: Plane, variant: str) -> None:
    """Envoy waits for its first clusters: that there are none is an answer."""
    plane.publish(cds={})
    client = plane.client(variant)
    await client.subscribe("cds", "*")
    await client.takes("cds", {})
    await client.expect_silence()


async def test_a_client_is_held_until_there_is_something_to_say(plane: Plane, variant: str) -> None:
    """Before a snapshot is published nothing is sent, above all no empty configuration."""
    client = plane.client(variant)
    await client.subscribe("cds", "*")
    await plane.until("the request is in", lambda: bool(plane.cache.nodes() and plane.node().types))
    plane.publish(cds={"a": "1"})
    await client.takes("cds", {"a": "1"})


async def test_naming_a_resource_keeps_a_delta_legacy_wildcard(plane: Plane) -> None:
    """In Delta the wildcard ends only when `*` is unsubscribed."""
    plane.publish(cds={"a": "1", "b": "1"})
    client = plane.client("delta")
    await client.subscribe("cds")
    await client.takes("cds", {"a": "1", "b": "1"})
    await client.subscribe("cds", "a")
    await client.takes("cds", {"a": "1"})
    plane.publish(cds={"a": "1", "b": "2"})
    await client.takes("cds", {"b": "2"})
    await client.unsubscribe("cds", "*")
    await client.expect_silence()
    plane.publish(cds={"a": "2", "b": "3"})
    await client.takes("cds", {"a": "2"})


async def test_naming_a_resource_ends_a_sotw_legacy_wildcard(plane: Plane) -> None:
    """In SotW each request states all that is wanted: without `*` there is no wildcard any more."""
    plane.publish(cds={"a": "1", "b": "1"})
    client = plane.client("sotw")
    await client.subscribe("cds")
    await client.takes("cds", {"a": "1", "b": "1"})
    await client.subscribe("cds", "*", "a")
    await client.expect_silence()
    plane.publish(cds={"a": "1", "b": "2"})
    await client.takes("cds", {"a": "1", "b": "2"})
    await client.unsubscribe("cds", "*")
    await client.expect_silence()
    plane.publish(cds={"a": "2", "b": "3"})
    await client.takes("cds", {"a": "2"})
    plane.publish(cds={"a": "2", "b": "4"})
    await client.expect_silence()


async def test_naming_nothing_after_a_name_is_no_wildcard(plane: Plane, variant: str) -> None:
    """The empty list means everything only until any name was asked for on the stream."""
    plane.publish(cds={"a": "1", "b": "1"})
    client = plane.client(variant)
    await client.subscribe("cds", "a")
    await client.takes("cds", {"a": "1"})
    await client.unsubscribe("cds", "a")
    await client.subscribe("cds")
    await client.expect_silence()
    plane.publish(cds={"a": "2", "b": "2"})
    await client.expect_silence()


@pytest.mark.parametrize("alias", ["eds", "rds", "sds"])
async def test_naming_nothing_is_nothing_where_there_is_no_wildcard(
    plane: Plane, variant: str, alias: str
) -> None:
    """After its last cluster has gone Envoy asks for no endpoints, without a nonce: it wants none."""
    plane.publish(**{alias: {"a": "1"}})
    client = plane.client(variant)
    await client.subscribe(alias)
    await client.expect_silence()
    await client.subscribe(alias, "a")
    await client.takes(alias, {"a": "1"})


@pytest.mark.parametrize("alias", ["eds", "rds", "sds"])
async def test_named_resources_come_alone(plane: Plane, variant: str, alias: str) -> None:
    """Who names resources is sent those, and of a change only what changed."""
    plane.publish(**{alias: {"a": "1", "b": "1", "c": "1"}})
    client = plane.client(variant)
    await client.subscribe(alias, "a", "b")
    await client.takes(alias, {"a": "1", "b": "1"})
    plane.publish(**{alias: {"a": "1", "b": "2", "c": "2"}})
    await client.takes(alias, {"b": "2"})
    await client.subscribe(alias, "c")
    await client.takes(alias, {"c": "2"})
    await client.expect_silence()


async def test_a_missing_name_is_remembered(plane: Plane, variant: str) -> None:
    """Delta says at once that it does not exist; both push it when it appears."""
    plane.publish(eds={})
    client = plane.client(variant)
    await client.subscribe("eds", "a")
    if variant == "delta":
        await client.takes("eds", {}, removed=["a"])
    await client.expect_silence()
    plane.publish(eds={"a": "1"})
    await client.takes("eds", {"a": "1"})
    plane.publish(eds={})
    if variant == "delta":
        await client.takes("eds", {}, removed=["a"])
    await client.expect_silence()  # in SotW absence is not deletion: nothing can be said
    plane.publish(eds={"a": "1"})
    if variant == "delta":
        await client.takes("eds", {"a": "1"})
    await client.expect_silence()  # ... and so it still has what it had
    plane.publish(eds={"a": "2"})
    await client.takes("eds", {"a": "2"})


async def test_asking_again_in_delta_sends_again(plane: Plane) -> None:
    """Subscribing to what is subscribed is answered, even with what is current or missing."""
    plane.publish(eds={"a": "1", "b": "1"})
    client = plane.client("delta")
    await client.subscribe("eds", "a", "b")
    await client.takes("eds", {"a": "1", "b": "1"})
    await client.subscribe("eds", "a")
    await client.takes("eds", {"a": "1"})
    for _ in range(2):
        await client.subscribe("eds", "gone")
        await client.takes("eds", {}, removed=["gone"])
    await client.expect_silence()


async def test_asking_for_everything_again_in_delta_sends_everything_again(plane: Plane) -> None:
    """Subscribing to `*` is subscribing to what is subscribed, too."""
    plane.publish(cds={"a": "1", "b": "1"})
    client = plane.client("delta")
    for _ in range(2):
        await client.subscribe("cds", "*")
        await client.takes("cds", {"a": "1", "b": "1"})
    await client.expect_silence()


@pytest.mark.parametrize("alias", ["eds", "rds", "sds"])
async def test_an_explicit_wildcard_holds_for_any_type(plane: Plane, variant: str, alias: str) -> None:
    """Types that are asked for by name can be asked for whole; of a change only what changed comes."""
    plane.publish(**{alias: {"a": "1", "b": "1"}})
    client = plane.client(variant)
    await client.subscribe(alias, "*")
    await client.takes(alias, {"a": "1", "b": "1"})
    plane.publish(**{alias: {"a": "1", "b": "2", "c": "1"}})
    await client.takes(alias, {"b": "2", "c": "1"})
    await client.expect_silence()


async def test_what_is_not_wanted_any_more_is_not_sent(plane: Plane, variant: str) -> None:
    """After an unsubscribe a name is silent; asked for again it is sent, changed or not."""
    plane.publish(eds={"a": "1", "b": "1"})
    client = plane.client(variant)
    await client.subscribe("eds", "a", "b")
    await client.takes("eds", {"a": "1", "b": "1"})
    await client.unsubscribe("eds", "a")
    await client.expect_silence()
    plane.publish(eds={"a": "2", "b": "1"})
    await client.expect_silence()
    plane.publish(eds={"a": "1", "b": "1"})
    await client.subscribe("eds", "a")
    await client.takes("eds", {"a": "1"})
    await client.expect_silence()


async def test_dropping_a_name_that_a_delta_wildcard_covers_is_answered(plane: Plane) -> None:
    """The client cannot know whether the wildcard still covers it, so it is told."""
    plane.publish(cds={"a": "1"})
    client = plane.client("delta")
    await client.subscribe("cds", "*", "a", "b")
    await client.takes("cds", {"a": "1"}, removed=["b"])
    await client.unsubscribe("cds", "a", "b")
    await client.takes("cds", {"a": "1"}, removed=["b"])
    await client.expect_silence()


async def test_a_type_that_nobody_serves_is_no_error(plane: Plane, variant: str) -> None:
    """It is asked for in vain; the stream goes on."""
    plane.publish(cds={"a": "1"})
    client = plane.client(variant)
    await client.subscribe("sds", "none")
    if variant == "delta":
        await client.takes("sds", {}, removed=["none"])
    await client.subscribe("cds")
    await client.takes("cds", {"a": "1"})
