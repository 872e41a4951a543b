"""Times to live: only for clients that say they understand them, and renewed before they pass.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#time-to-live-ttl
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conformance.plane import KEY, Plane
from tests.conformance.resources import resource, snapshot

UNDERSTANDS = ("xds.config.supports-resource-ttl", "xds.config.resource-in-sotw")


def publish(plane: Plane, version: str, ttl_s: float | None) -> int:
    """Publish endpoints a with a time to live, and b without one; return the revision."""
    made = snapshot({"eds": {"b": "1"}}).with_changes([replace(resource("eds", "a", version), ttl_s=ttl_s)])
    plane.revision += 1
    plane.cache.publish(KEY, made, plane.revision)
    return plane.revision


async def test_a_client_that_understands_is_told(plane: Plane, variant: str) -> None:
    """The resource comes with its time to live, others without."""
    publish(plane, "1", 60)
    client = plane.client(variant, features=UNDERSTANDS)
    await client.subscribe("eds", "a", "b")
    answer = await client.takes("eds", {"a": "1", "b": "1"})
    assert answer.ttl_s == {"a": 60}
    await client.expect_silence()


@pytest.mark.parametrize("features", [(), ("xds.config.resource-in-sotw",), ("something.else",)])
async def test_a_client_that_does_not_say_so_is_spared(
    plane: Plane, variant: str, features: tuple[str, ...]
) -> None:
    """It would take the wrapper for the resource, or drop what is not renewed in its way."""
    publish(plane, "1", 0.05)
    client = plane.client(variant, features=features)
    await client.subscribe("eds", "a", "b")
    assert (await client.takes("eds", {"a": "1", "b": "1"})).ttl_s == {}
    other = plane.client(variant, "eds", features=UNDERSTANDS)  # its heartbeats show that time passes
    await other.subscribe("eds", "a")
    await other.ack(await other.next())
    for _ in range(3):
        await other.ack(await other.next())
    await client.expect_silence()


async def test_it_is_renewed_in_time_and_with_nothing_else(plane: Plane, variant: str) -> None:
    """Heartbeats name the resource and its time again; in Delta without its body; ACKs are as ever."""
    publish(plane, "1", 0.1)
    client = plane.client(variant, features=UNDERSTANDS)
    await client.subscribe("eds", "a", "b")
    await client.takes("eds", {"a": "1", "b": "1"})
    for _ in range(3):
        beat = await client.next()
        assert (beat.alias, beat.put, beat.ttl_s) == ("eds", {"a": "1"}, {"a": 0.1})
        assert beat.bodiless == (("a",) if variant == "delta" else ())
        await client.ack(beat)
    revision = publish(plane, "2", None)
    answer = await client.next()
    while answer.put != {"a": "2"}:
        await client.ack(answer)
        answer = await client.next()
    assert answer.ttl_s == {}
    await client.ack(answer)
    await plane.acked(revision, "eds")
    await client.expect_silence()


async def test_a_new_time_to_live_of_the_same_content_is_told(plane: Plane, variant: str) -> None:
    """It is not part of the version, and yet counts from now on."""
    publish(plane, "1", None)
    client = plane.client(variant, features=UNDERSTANDS)
    await client.subscribe("eds", "a", "b")
    await client.takes("eds", {"a": "1", "b": "1"})
    for ttl_s in (60.0, 30.0, None):
        publish(plane, "1", ttl_s)
        answer = await client.takes("eds", {"a": "1"})
        assert answer.ttl_s == ({} if ttl_s is None else {"a": ttl_s})
    await client.expect_silence()
