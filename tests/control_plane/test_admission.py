"""What of a snapshot goes out before, and without, a verdict."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from control_plane.reconcile.admission import Admission, admit
from control_plane.reconcile.preflight_memory import PASSED, PENDING, Verdict
from control_plane.resources.model import Resource, Snapshot, check_consistent, new_resource, new_snapshot
from wire.names import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE

TYPES = (CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE)
REFUSED = Verdict("refused", "Envoy does not like it")
DEADLY = Verdict("refused", "Envoy dies of it", deadly=True)
SKIPPED = Verdict("skipped", "Envoy is missing")


@dataclass
class Checks:
    """Verdicts by (name, content); what is not listed has passed."""

    verdicts: dict[tuple[str, bytes], Verdict] = field(default_factory=dict)
    passed_once: frozenset[str] = frozenset()  # names of clusters
    asked: list[str] = field(default_factory=list)

    def verdict(self, resource: Resource) -> Verdict:
        """See admission.Checks."""
        self.asked.append(resource.name)
        if resource.type_url == ENDPOINT_TYPE:
            return PASSED
        return self.verdicts.get((resource.name, resource.body), PASSED)

    def ever_passed(self, type_url: str, name: str) -> bool:
        """See admission.Checks."""
        return type_url == CLUSTER_TYPE and name in self.passed_once


def cluster(name: str, content: bytes = b"1") -> Resource:
    """Return a cluster that needs its assignment."""
    return new_resource(CLUSTER_TYPE, name, content, ((ENDPOINT_TYPE, name),))


def gateway(content: bytes = b"1", routes: str = "routes") -> Resource:
    """Return a listener that needs routes."""
    return new_resource(LISTENER_TYPE, "gateway", content, ((ROUTE_TYPE, routes),))


def snapshot(*resources: Resource) -> Snapshot:
    """Return a snapshot with an assignment for each cluster."""
    assignments = [
        new_resource(ENDPOINT_TYPE, each.name, b"") for each in resources if each.type_url == CLUSTER_TYPE
    ]
    return new_snapshot([*resources, *assignments], TYPES)


ROUTES = new_resource(ROUTE_TYPE, "routes", b"1")
BEFORE = snapshot(cluster("a"), gateway(), ROUTES)


def held(admission: Admission) -> dict[str, Verdict]:
    """Return what is held by name."""
    return {name: verdict for (_, name), verdict in admission.held.items()}


def test_what_passed_is_what_was_wanted() -> None:
    """The very same snapshot, so that it is known what changed; only that was looked at."""
    wanted = BEFORE.with_changes([cluster("b"), new_resource(ENDPOINT_TYPE, "b", b"")])
    checks = Checks({("b", b"1"): SKIPPED})
    admission = admit(wanted, BEFORE, checks)
    assert admission.snapshot is wanted
    assert admission.held == {}
    assert checks.asked == ["b"]
    assert admit(BEFORE, None, Checks()).snapshot is BEFORE


def test_what_is_not_known_yet_or_refused_stays_as_it_was() -> None:
    """And everything else goes on."""
    changes = [cluster("a", b"2"), gateway(b"2"), cluster("b"), new_resource(ENDPOINT_TYPE, "b", b"")]
    wanted = BEFORE.with_changes(changes)
    verdicts = {("a", b"2"): PENDING, ("gateway", b"2"): REFUSED}
    admission = admit(wanted, BEFORE, Checks(verdicts))
    assert admission.snapshot is not None
    assert admission.snapshot.of(CLUSTER_TYPE) == {"a": cluster("a"), "b": cluster("b")}
    assert admission.snapshot.of(LISTENER_TYPE) == {"gateway": gateway()}
    assert held(admission) == {"a": PENDING, "gateway": REFUSED}


def test_a_new_one_is_left_out_until_it_passes() -> None:
    """Its assignment may go: nobody asks for it."""
    wanted = BEFORE.with_changes([cluster("b"), new_resource(ENDPOINT_TYPE, "b", b"")])
    for verdict in (PENDING, REFUSED, DEADLY):
        admission = admit(wanted, BEFORE, Checks({("b", b"1"): verdict}))
        assert admission.snapshot is not None
        assert admission.snapshot.of(CLUSTER_TYPE) == {"a": cluster("a")}
        assert held(admission) == {"b": verdict}
        check_consistent(admission.snapshot)
        again = admit(wanted, admission.snapshot, Checks())
        assert again == Admission(wanted, {})


def test_a_restarted_control_plane_waits_for_verdicts() -> None:
    """Leaving out would be removing for an Envoy that runs it; all that is unknown is asked for at once."""
    checks = Checks({("a", b"1"): PENDING, ("gateway", b"1"): REFUSED})
    admission = admit(BEFORE, None, checks)
    assert admission.snapshot is None
    assert held(admission) == {"a": PENDING, "gateway": REFUSED}
    assert {"a", "gateway", "routes"} <= set(checks.asked)


def test_what_an_envoy_may_run_in_another_version_is_not_taken_from_it() -> None:
    """A refused one goes out then: Envoy keeps what it runs. Not one that it would die of."""
    for verdict, once, out in (
        (REFUSED, frozenset({"a"}), True),
        (REFUSED, frozenset[str](), False),
        (DEADLY, frozenset({"a"}), False),
    ):
        admission = admit(BEFORE, None, Checks({("a", b"1"): verdict}, once))
        assert admission.snapshot is not None
        assert ("a" in admission.snapshot.of(CLUSTER_TYPE)) == out
        assert ("a" in held(admission)) == (not out)


def test_what_needs_what_is_held_is_held_too() -> None:
    """A listener without its routes would warm until a timeout."""
    wanted = snapshot(gateway(b"2", "new"), new_resource(ROUTE_TYPE, "new", b"1"))
    admission = admit(wanted, None, Checks({("new", b"1"): REFUSED}))
    assert admission.snapshot is not None
    assert admission.snapshot.of(LISTENER_TYPE) == {}
    assert held(admission)["gateway"] == Verdict("refused", "it needs RouteConfiguration new")
    admission = admit(wanted, BEFORE, Checks({("new", b"1"): PENDING}))
    assert admission.snapshot is not None
    assert admission.snapshot.of(LISTENER_TYPE) == {"gateway": gateway()}
    assert admission.snapshot.of(ROUTE_TYPE) == {"routes": ROUTES}  # which what stays needs
    check_consistent(admission.snapshot)


VERDICTS = st.sampled_from([PASSED, SKIPPED, PENDING, REFUSED, DEADLY])
CONTENTS = st.sampled_from([b"1", b"2", b"3"])
SNAPSHOTS = st.builds(
    lambda clusters, listener, routes: snapshot(
        *(cluster(name, content) for name, content in clusters.items()),
        *([gateway(listener, routes[0])] if listener else []),
        *(new_resource(ROUTE_TYPE, name, content) for name, content in [routes]),
    ),
    st.dictionaries(st.sampled_from("abc"), CONTENTS),
    st.none() | CONTENTS,
    st.tuples(st.sampled_from(["routes", "others"]), CONTENTS),
)


@given(
    st.lists(SNAPSHOTS, min_size=1, max_size=4),
    st.dictionaries(
        st.tuples(st.sampled_from(["a", "b", "c", "gateway", "routes", "others"]), CONTENTS), VERDICTS
    ),
)
def test_only_what_may_go_out_does_and_it_is_consistent(
    wishes: list[Snapshot], verdicts: dict[tuple[str, bytes], Verdict]
) -> None:
    """Whatever is wished for, one after the other, each on top of what went out before."""
    before, checks = None, Checks(verdicts)
    for wanted in wishes:
        admission = admit(wanted, before, checks)
        if admission.snapshot is None:
            continue
        check_consistent(admission.snapshot)
        for type_url, resources in admission.snapshot.resources.items():
            for name, resource in resources.items():
                assert checks.verdict(resource).may_go_out
                assert resource == wanted.of(type_url).get(name) or (
                    before is not None and resource == before.of(type_url)[name]
                )
        for type_url in TYPES:
            missing = wanted.of(type_url).keys() - admission.snapshot.of(type_url).keys()
            assert {(type_url, name) for name in missing} <= admission.held.keys()
        before = admission.snapshot
