"""The search for what is bad, and the memory of verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from control_plane.reconcile.preflight_memory import (
    MAX_BATCH,
    MAX_BATCH_BYTES,
    PASSED,
    PENDING,
    PreflightMemory,
    Verdict,
)
from control_plane.reconcile.trial import Group, Trial
from control_plane.resources.model import Resource, new_resource
from wire.names import CLUSTER_TYPE, LISTENER_TYPE

REFUSED = Verdict("refused", "it is bad")


def resources(count: int, size: int = 1) -> list[Resource]:
    """Return resources of different names; the numbers are their names."""
    return [new_resource(CLUSTER_TYPE, str(number), bytes(size)) for number in range(count)]


def names(group: Sequence[Resource]) -> set[str]:
    """Return the names of a group."""
    return {each.name for each in group}


def search(
    group: Sequence[Resource],
    is_bad: Callable[[set[str]], bool],
    suspects: Callable[[Group], Sequence[int]] = lambda _: (),
) -> tuple[list[str], list[str], int]:
    """Search with an Envoy that says no to what `is_bad`; return (good, bad, runs)."""
    trial, good, bad, runs = Trial(group), list[str](), list[str](), 0
    while (judged := trial.group) is not None:
        runs += 1
        if not is_bad(names(judged)):
            good += [each.name for each in trial.accepted()]
        elif (found := trial.refused(suspects(judged))) is not None:
            bad.append(found.name)
    return good, bad, runs


@given(st.integers(0, 60).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, max(0, n - 1))))))
def test_exactly_what_is_bad_is_found(case: tuple[int, set[int]]) -> None:
    """Whatever is bad, each resource is settled once."""
    count, chosen = case
    wanted = {str(number) for number in chosen if number < count}
    good, bad, runs = search(resources(count), lambda group: bool(group & wanted))
    assert sorted(bad) == sorted(wanted)
    assert sorted(good + bad) == sorted(names(resources(count)))
    assert runs <= max(1, 2 * count)


@given(st.integers(2, 500), st.data())
def test_one_bad_resource_takes_a_logarithm_of_runs(count: int, data: st.DataObject) -> None:
    """At most two for each halving; three in all if Envoy points at it, even among others."""
    wanted = str(data.draw(st.integers(0, count - 1)))
    _, bad, runs = search(resources(count), lambda group: wanted in group)
    assert bad == [wanted]
    assert runs <= 2 * math.ceil(math.log2(count)) + 1

    def pointed(group: Group) -> Sequence[int]:
        return [index for index, each in enumerate(group) if each.name == wanted]

    _, bad, runs = search(resources(count), lambda group: wanted in group, pointed)
    assert bad == [wanted]
    assert runs <= 3


@given(st.integers(1, 40), st.lists(st.integers(-5, 50)), st.data())
def test_a_wrong_pointer_only_costs_runs(count: int, suspects: list[int], data: st.DataObject) -> None:
    """Also one that points at nothing."""
    wanted = str(data.draw(st.integers(0, count - 1)))
    good, bad, _ = search(resources(count), lambda group: wanted in group, lambda _: suspects)
    assert bad == [wanted]
    assert len(good) == count - 1


@given(st.integers(2, 40), st.data())
def test_a_pair_that_does_not_go_together_passes(count: int, data: st.DataObject) -> None:
    """Neither is bad by itself."""
    pair = {str(each) for each in data.draw(st.sets(st.integers(0, count - 1), min_size=2, max_size=2))}
    good, bad, _ = search(resources(count), lambda group: pair <= group)
    assert bad == []
    assert len(good) == count


def test_a_search_can_be_given_up() -> None:
    """What is not settled is returned."""
    trial = Trial(resources(8))
    trial.refused()
    settled = trial.accepted()
    assert names(settled) | names(trial.abandoned()) == names(resources(8))
    assert trial.group is None
    assert trial.abandoned() == ()


# --- memory -----------------------------------------------------------------------------------------
def test_a_resource_is_pending_until_it_is_settled() -> None:
    """And then known by its version."""
    memory = PreflightMemory()
    first, second = new_resource(CLUSTER_TYPE, "one", b"1"), new_resource(CLUSTER_TYPE, "one", b"2")
    assert memory.verdict(first) == memory.verdict(first) == PENDING
    assert memory.batch() == (first,)
    assert memory.waiting == 1
    memory.settle([first], REFUSED)
    assert (memory.waiting, memory.batch()) == (0, ())
    assert memory.verdict(first) == REFUSED
    assert memory.verdict(second) == PENDING
    assert not memory.ever_passed(CLUSTER_TYPE, "one")
    memory.settle([second], PASSED)
    assert memory.ever_passed(CLUSTER_TYPE, "one")
    assert memory.passed() == [(CLUSTER_TYPE, "one", second.version)]


def test_a_batch_is_bounded_and_has_no_name_twice() -> None:
    """What does not go in waits for the next one."""
    memory = PreflightMemory()
    twice = [new_resource(LISTENER_TYPE, "gateway", bytes([number])) for number in range(3)]
    for each in [*twice, new_resource(CLUSTER_TYPE, "gateway", b"")]:
        memory.verdict(each)
    assert [(each.type_url, each.version) for each in memory.batch()] == [
        (LISTENER_TYPE, twice[0].version),
        (CLUSTER_TYPE, new_resource(CLUSTER_TYPE, "gateway", b"").version),
    ]
    memory = PreflightMemory()
    for each in resources(MAX_BATCH + 1):
        memory.verdict(each)
    assert len(memory.batch()) == MAX_BATCH
    memory = PreflightMemory()
    for each in resources(3, MAX_BATCH_BYTES):
        memory.verdict(each)
    assert len(memory.batch()) == 1


def test_memory_is_bounded() -> None:
    """What nobody asks for is forgotten first; what cannot wait any more goes out unchecked."""
    memory = PreflightMemory(max_known=2, max_waiting=2)
    one, two, three = resources(3)
    memory.settle([one, two], PASSED)
    memory.verdict(one)
    memory.settle([three], PASSED)
    assert memory.passed() == [(CLUSTER_TYPE, each.name, each.version) for each in (one, three)]
    assert [memory.ever_passed(CLUSTER_TYPE, each.name) for each in (one, two, three)] == [True, False, True]
    memory = PreflightMemory(max_waiting=2)
    states = [memory.verdict(each).state for each in resources(3)]
    assert states == ["pending", "pending", "skipped"]
    assert memory.verdict(resources(1)[0]) == PENDING


def test_what_another_envoy_passed_is_known_by_name() -> None:
    """It must be judged again, but an Envoy may run it."""
    memory = PreflightMemory()
    (one,) = resources(1)
    memory.recall([(CLUSTER_TYPE, "0", one.version)], valid=False)
    assert memory.verdict(one) == PENDING
    assert memory.ever_passed(CLUSTER_TYPE, "0")
    memory.recall([(CLUSTER_TYPE, "0", one.version)], valid=True)
    assert memory.verdict(one) == PASSED
