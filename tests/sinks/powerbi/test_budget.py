"""The budget never lets more through than the service allows, in any window."""

from __future__ import annotations

import bisect
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.sinks.powerbi.budget import RESTARTS, Bucket, Budget, Limits

S = 1_000_000_000
SMALL = Limits(rows_per_post=50, posts_per_minute=12, rows_per_hour=4_000, grace_ns=30 * S)


def most_in(window_ns: int, events: list[tuple[int, int]]) -> int:
    """Return the largest sum of counts within any half-open window."""
    events = sorted(events)
    times = [at for at, _ in events]
    sums = [0, *itertools.accumulate(count for _, count in events)]
    return max(
        (sums[i + 1] - sums[bisect.bisect_right(times, at - window_ns)] for i, at in enumerate(times)),
        default=0,
    )


IDLE = st.one_of(st.just(0), st.integers(0, 2 * S), st.integers(0, 3600 * S))
DEMANDS = st.lists(st.tuples(IDLE, st.integers(1, 10_000), st.integers(0, 30 * S)), min_size=1, max_size=400)


@settings(deadline=None)
@given(DEMANDS, st.sets(st.integers(0, 399), max_size=RESTARTS))
def test_no_window_at_the_service_is_over_a_limit(
    demands: list[tuple[int, int, int]], restarts: set[int]
) -> None:
    """However rows come, POSTs are late on their way and the sink is restarted: no limit is broken."""
    now = 0
    budget = Budget(SMALL, now)
    arrivals: list[tuple[int, int]] = []
    for index, (idle, rows, delay) in enumerate(demands):
        now += idle
        if index in restarts:
            budget = Budget(SMALL, now)
        count, wait = budget.next_post(rows, now)
        assert 1 <= count <= min(rows, SMALL.rows_per_post)
        now += wait
        budget.sent(count, now)
        arrivals.append((now + delay, count))
    assert most_in(60 * S, [(at, 1) for at, _ in arrivals]) <= SMALL.posts_per_minute
    assert most_in(3600 * S, arrivals) <= SMALL.rows_per_hour


def test_five_restarts_at_the_worst_moments() -> None:
    """Endless demand on a rested sink that is restarted whenever it would have to wait: within limits."""
    budget = Budget(Limits(), -7200 * S)
    now, restarts = 0, 0
    arrivals: list[tuple[int, int]] = []
    while now < 3600 * S:
        count, wait = budget.next_post(1_000_000, now)
        if wait and restarts < RESTARTS:
            budget = Budget(Limits(), now)
            restarts += 1
            continue
        now += wait
        budget.sent(count, now)
        arrivals.append((now, count))
    assert most_in(60 * S, [(at, 1) for at, _ in arrivals]) <= 120
    assert 950_000 < most_in(3600 * S, arrivals) <= 1_000_000


@settings(deadline=None)
@given(
    st.integers(1, 100),
    st.integers(1, 10 * S),
    st.lists(st.tuples(st.integers(0, 100 * S), st.integers(1, 100)), max_size=100),
)
def test_a_bucket_says_when(burst: int, interval: int, takes: list[tuple[int, int]]) -> None:
    """What wait_ns says is the first moment at which the level suffices."""
    now = 0
    bucket = Bucket(burst, burst // 2, interval, now)
    for idle, wanted in takes:
        now += idle
        count = min(wanted, burst)
        wait = bucket.wait_ns(count, now)
        assert (wait == 0) == (bucket.level(now) >= count)
        if wait:
            assert bucket.level(now + wait - 1) < count
        now += wait
        assert count <= bucket.level(now) <= burst
        bucket.take(count, now)


def test_the_published_limits_are_used_well() -> None:
    """Endless demand gets some 800,000 rows through in an hour, and no POST waits long."""
    budget = Budget(Limits(), 0)
    now, rows, longest = 0, 0, 0
    while now < 3600 * S:
        count, wait = budget.next_post(1_000_000, now)
        now += wait
        longest = max(longest, wait)
        budget.sent(count, now)
        rows += count
    assert 810_000 < rows <= 820_000
    assert longest <= 1.1 * S
    rested = now + 2 * 3600 * S
    assert budget.affordable(rested) == 100_000
    assert budget.next_post(100_000, rested) == (10_000, 0)


def test_scarce_rows_trickle() -> None:
    """When the hour's rows are used up, POSTs of a second's worth follow each other."""
    budget = Budget(Limits(), 0)
    now = 0
    for _ in range(1_000):
        count, wait = budget.next_post(50_000, now)
        now += wait
        budget.sent(count, now)
    assert 215 <= count <= 260
    assert 0.8 * S < wait <= 1.2 * S


def test_a_refusal_is_waited_for() -> None:
    """Nothing is sent before Retry-After is over, and a shorter one does not end a longer."""
    budget = Budget(Limits(), 0)
    budget.refused(300 * S, 10 * S)
    budget.refused(1 * S, 20 * S)
    assert budget.next_post(10, 60 * S) == (10, 250 * S)
    assert budget.next_post(10, 400 * S) == (10, 0)


def test_bodies_that_are_too_large_get_smaller() -> None:
    """Each refusal halves the rows of a POST, down to one."""
    budget = Budget(Limits(), 0)
    now = 3600 * S
    assert budget.next_post(20_000, now) == (10_000, 0)
    budget.too_large(10_000)
    assert budget.next_post(20_000, now) == (5_000, 0)
    budget.too_large(1)
    assert budget.next_post(20_000, now) == (1, 0)
