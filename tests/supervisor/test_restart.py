"""The rule of restarts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gaugeway.supervisor.restart import Again, GiveUp, RestartPolicy, Restarts

POLICY = RestartPolicy(first_s=0.1, factor=2, longest_s=1.0, stable_s=10, patience=3)


def test_pauses_grow_up_to_the_longest() -> None:
    """Deaths in a row wait 0.1, 0.2, 0.4, 0.8, then 1 s each."""
    restarts = Restarts(POLICY)
    restarts.served()
    pauses = [verdict.after_s for _ in range(6) if isinstance(verdict := restarts.died(1.0), Again)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_long_service_makes_a_death_the_first_again() -> None:
    """Who served `stable_s` starts again after the shortest pause."""
    restarts = Restarts(POLICY)
    restarts.served()
    for _ in range(4):
        restarts.died(0.5)
    assert restarts.died(10.0) == Again(0.1, 1, troubled=False)
    assert restarts.total == 5


def test_who_never_served_is_given_up() -> None:
    """The third death without ever having served is the end."""
    restarts = Restarts(POLICY)
    assert isinstance(restarts.died(None), Again)
    assert isinstance(restarts.died(None), Again)
    assert restarts.died(None) == GiveUp(3)


@given(st.lists(st.one_of(st.none(), st.floats(0, 100)), max_size=40))
def test_who_served_once_is_never_given_up(lives: list[float | None]) -> None:
    """However a process dies, once it served it is started again, within bounds, and said to be troubled."""
    restarts = Restarts(POLICY)
    restarts.served()
    for life in lives:
        verdict = restarts.died(life)
        assert isinstance(verdict, Again)
        assert POLICY.first_s <= verdict.after_s <= POLICY.longest_s
        assert verdict.troubled == (verdict.deaths >= POLICY.patience)
    assert restarts.total == len(lives)
