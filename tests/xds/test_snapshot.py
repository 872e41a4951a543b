"""Snapshots: made from one another, compared, and checked before anybody sees them."""

from __future__ import annotations

import random

import pytest

from control_plane.resources.model import (
    InconsistentSnapshotError,
    Resource,
    Snapshot,
    check_consistent,
    new_resource,
    new_snapshot,
)
from wire.names import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE

TYPES = (CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE)


def cluster(name: str, body: bytes = b"c") -> Resource:
    """Return a cluster that needs its load assignment."""
    return new_resource(CLUSTER_TYPE, name, body, references=((ENDPOINT_TYPE, name),))


def endpoints(name: str, body: bytes = b"e") -> Resource:
    """Return a load assignment."""
    return new_resource(ENDPOINT_TYPE, name, body)


def pair() -> Snapshot:
    """Return a snapshot of one cluster with its load assignment."""
    return new_snapshot([cluster("a"), endpoints("a")], TYPES)


def test_a_change_shares_what_it_does_not_touch() -> None:
    """Types without a change are the very same mapping; the snapshot it was made from stays as it was."""
    first = pair()
    second = first.with_changes([endpoints("a", b"e2")])
    assert second.of(CLUSTER_TYPE) is first.of(CLUSTER_TYPE)
    assert first.of(ENDPOINT_TYPE)["a"].body == b"e"
    assert second.of(ENDPOINT_TYPE)["a"].body == b"e2"
    assert second.changed_since(first) == {ENDPOINT_TYPE: {"a"}}


def test_what_changed_is_told_whichever_way_a_snapshot_was_made() -> None:
    """Over several changes, and against none, the names are found by comparison."""
    first = pair()
    second = first.with_changes([cluster("b"), endpoints("b")])
    third = second.with_changes([], [(CLUSTER_TYPE, "a"), (ENDPOINT_TYPE, "a")])
    assert third.changed_since(second) == {CLUSTER_TYPE: {"a"}, ENDPOINT_TYPE: {"a"}}
    both = third.changed_since(first)
    assert {type_url: set(names) for type_url, names in both.items() if names} == {
        CLUSTER_TYPE: {"a", "b"},
        ENDPOINT_TYPE: {"a", "b"},
    }
    assert third.changed_since(third) == {}
    assert set(third.changed_since(None)[CLUSTER_TYPE]) == {"b"}


def test_what_a_change_says_of_itself_holds_the_truth() -> None:
    """Random chains of changes: every name that differs is named, and content is as if built at once."""
    choose = random.Random(7)
    snapshot, content = new_snapshot([], TYPES), dict[str, Resource]()
    for step in range(200):
        put = [endpoints(f"n{choose.randrange(9)}", bytes([step % 256])) for _ in range(choose.randrange(3))]
        gone = [(ENDPOINT_TYPE, name) for name in content if choose.random() < 0.1]
        before, snapshot = snapshot, snapshot.with_changes(put, gone)
        for _, name in gone:
            content.pop(name)
        content |= {each.name: each for each in put}
        assert dict(snapshot.of(ENDPOINT_TYPE)) == content
        differ = {
            name
            for name in before.of(ENDPOINT_TYPE).keys() | content.keys()
            if before.of(ENDPOINT_TYPE).get(name) != content.get(name)
        }
        assert differ <= set(snapshot.changed_since(before).get(ENDPOINT_TYPE, ()))


def test_a_change_that_leaves_a_cluster_without_endpoints_is_refused() -> None:
    """Removed endpoints that a cluster needs, and a new cluster without any, are named in the problems."""
    first = pair()
    check_consistent(first)
    with pytest.raises(InconsistentSnapshotError, match="Cluster a needs ClusterLoadAssignment a"):
        check_consistent(first.with_changes([], [(ENDPOINT_TYPE, "a")]), first)
    with pytest.raises(InconsistentSnapshotError, match="Cluster b needs ClusterLoadAssignment b"):
        check_consistent(first.with_changes([cluster("b")]), first)
    check_consistent(first.with_changes([], [(CLUSTER_TYPE, "a"), (ENDPOINT_TYPE, "a")]), first)


def test_a_resource_under_another_name_is_refused() -> None:
    """A snapshot that holds a resource under a name that is not its own is refused, with both names."""
    wrong = Snapshot({CLUSTER_TYPE: {"b": cluster("a")}, ENDPOINT_TYPE: {"a": endpoints("a")}})
    with pytest.raises(InconsistentSnapshotError, match="Cluster b holds Cluster a"):
        check_consistent(wrong)
