"""What may be published: consistent snapshots only; on failure the last good one stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from control_plane.resources.envoy import envoy_snapshot
from control_plane.resources.model import InconsistentSnapshotError, new_snapshot
from hyperv.model import Endpoint
from tests.conformance.plane import KEY, Plane
from tests.conformance.resources import TYPES, resource, snapshot

HERE = Endpoint(address="127.0.0.2", port=1)
THERE = Endpoint(address="127.0.0.3", port=1)


@pytest.mark.parametrize(("alias", "wanted"), [("cds", "eds"), ("lds", "rds")])
async def test_an_inconsistent_snapshot_is_not_sent(
    plane: Plane, variant: str, alias: str, wanted: str
) -> None:
    """Every EDS cluster has its assignment, every listener its routes; the reason is a sentence."""
    revision = plane.publish(**{alias: {"a": "1"}, wanted: {"a": "1"}})
    client = plane.client(variant)
    await client.subscribe(alias)
    await client.takes(alias, {"a": "1"})
    bad = snapshot({wanted: {"a": "1"}}).with_changes(
        [
            resource(alias, "a", "2"),
            replace(resource(alias, "b", "1"), references=((TYPES[wanted], "b"),)),
        ]
    )
    with pytest.raises(InconsistentSnapshotError, match=r"b needs .* b, which is not there"):
        plane.cache.publish(KEY, bad, revision + 1)
    await client.expect_silence()
    assert plane.node().revision == revision
    plane.revision += 1
    plane.cache.publish(KEY, bad.with_changes([resource(wanted, "b", "1")]), plane.revision)
    await client.takes(alias, {"a": "2", "b": "1"})


async def test_revisions_do_not_go_back(plane: Plane, variant: str) -> None:
    """What is older than what a node was sent is refused."""
    plane.revision = 5
    plane.publish(cds={"a": "1"})
    client = plane.client(variant)
    await client.subscribe("cds")
    await client.takes("cds", {"a": "1"})
    with pytest.raises(ValueError, match=r"revision 5 .* is below 6"):
        plane.cache.publish(KEY, snapshot({"cds": {"a": "0"}}), 5)
    await client.expect_silence()


def test_a_name_occurs_once() -> None:
    """Envoy refuses a response that says a name twice: such a snapshot is not made."""
    twice = [resource("cds", "a", "1"), resource("cds", "a", "2"), resource("eds", "a", "1")]
    with pytest.raises(InconsistentSnapshotError, match="Cluster a occurs twice"):
        new_snapshot(twice, TYPES.values())


def test_a_sensor_is_in_one_place() -> None:
    """Envoy picks one of two endpoints of a sensor without a word: that is refused before."""
    with pytest.raises(InconsistentSnapshotError, match="press-1"):
        envoy_snapshot({"one": {"press-1": HERE}, "two": {"press-1": THERE}}, 0)
    with pytest.raises(InconsistentSnapshotError, match="press-1 and press-2"):
        envoy_snapshot({"one": {"press-1": HERE, "press-2": HERE}}, 0)


def test_replicas_make_equal_bytes() -> None:
    """The order in which hosts and sensors became known shows nowhere."""
    first = envoy_snapshot({"one": {"a": HERE, "b": THERE}, "two": {}}, 0)
    second = envoy_snapshot({"two": {}, "one": {"b": THERE, "a": HERE}}, 0)
    for type_url, of_type in first.resources.items():
        assert {name: (each.version, each.body) for name, each in of_type.items()} == {
            name: (each.version, each.body) for name, each in second.of(type_url).items()
        }
