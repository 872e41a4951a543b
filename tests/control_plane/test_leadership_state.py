"""Leadership: its rules one by one, and never two leaders in simulated plants with late and lost messages."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.store.leadership_state import (
    LEAD_S,
    RENEW_S,
    RETRY_S,
    TAKEOVER_S,
    LeadershipState,
    Write,
)


def leader(now_s: float = 0.0) -> LeadershipState:
    """Return a replica that leads by revision 1, written at `now_s`."""
    state = LeadershipState("ours")
    state.saw_none(now_s)
    assert state.due(now_s) == Write(0, now_s)
    state.acknowledged(1, now_s)
    assert state.leads(now_s)
    return state


def test_nothing_is_written_before_the_key_was_looked_at() -> None:
    """A replica that has not loaded the store does not know whether another one leads."""
    state = LeadershipState("ours")
    assert (state.due(100.0), state.wait_s(100.0)) == (None, None)


def test_a_leader_renews_its_own_revision() -> None:
    """Every RENEW_S after the last renewal was begun; one write at a time."""
    state = leader()
    assert (state.due(RENEW_S - 0.01), state.wait_s(RENEW_S - 0.5)) == (None, 0.5)
    assert state.due(RENEW_S) == Write(1, RENEW_S)
    assert state.due(RENEW_S + 1) is None
    state.acknowledged(7, RENEW_S + 1)
    assert state.due(2 * RENEW_S) == Write(7, 2 * RENEW_S)
    assert state.leads(RENEW_S + LEAD_S - 0.01)
    assert not state.leads(RENEW_S + LEAD_S)


def test_a_lead_is_counted_from_before_the_write() -> None:
    """An answer that took long gives what is left; one that took too long gives nothing, and is renewed."""
    state = LeadershipState("ours")
    state.saw_none(0.0)
    state.due(0.0)
    state.acknowledged(1, LEAD_S - 1)
    assert state.leads(LEAD_S - 0.5)
    assert not state.leads(LEAD_S)
    late = LeadershipState("ours")
    late.saw_none(0.0)
    late.due(0.0)
    late.acknowledged(1, LEAD_S)
    assert not late.leads(LEAD_S)
    assert late.due(LEAD_S) == Write(1, LEAD_S)
    late.acknowledged(2, LEAD_S)
    assert late.leads(LEAD_S + 1)


def test_a_leader_that_is_not_answered_ends() -> None:
    """It tries again and again until its time is over, and then never leads again (L3)."""
    state = leader()
    assert state.due(RENEW_S) is not None
    state.failed(RENEW_S + 0.8, conflict=False)
    assert state.due(RENEW_S + 0.9) is None
    assert state.due(RENEW_S + 0.8 + RETRY_S) == Write(1, RENEW_S + 0.8 + RETRY_S)
    assert (state.leads(LEAD_S), state.wait_s(LEAD_S)) == (False, 0.0)
    assert state.lost == "the store took no renewal for 4 s"
    state.acknowledged(2, LEAD_S + 0.1)
    state.saw_none(LEAD_S + 1)
    assert (state.leads(LEAD_S + 2), state.due(LEAD_S + 2), state.give_up(LEAD_S + 2)) == (False, None, None)


def test_a_stopped_leader_knows_it_by_the_clock_alone() -> None:
    """One that was stopped for long leads no more at the very first look."""
    state = leader()
    assert not state.leads(60.0)
    state = leader()
    assert state.due(60.0) is None
    assert state.lost is not None


def test_a_standby_waits_for_a_revision_that_stays() -> None:
    """TAKEOVER_S from when it first saw a revision, not from when it last heard of it."""
    state = LeadershipState("ours")
    state.saw(5, "theirs", 0.0)
    state.saw(6, "theirs", 2.0)
    state.saw(6, "theirs", 7.0)
    assert (state.due(2.0 + TAKEOVER_S - 0.01), state.wait_s(2.0)) == (None, TAKEOVER_S)
    assert state.due(2.0 + TAKEOVER_S) == Write(6, 2.0 + TAKEOVER_S)
    state.acknowledged(7, 2.1 + TAKEOVER_S)
    assert state.leads(2.2 + TAKEOVER_S)


def test_a_standby_that_was_too_late_waits_again() -> None:
    """Its compare-and-set failed: the leader lives, though its news have not come."""
    state = LeadershipState("ours")
    state.saw(5, "theirs", 0.0)
    assert state.due(TAKEOVER_S) is not None
    state.failed(TAKEOVER_S + 0.1, conflict=True)
    assert state.due(2 * TAKEOVER_S) is None
    assert state.due(2 * TAKEOVER_S + 0.1) is not None


def test_a_key_that_was_given_up_is_taken_at_once() -> None:
    """An orderly end makes nobody wait; after the store was away a missing key proves nothing at first."""
    state = LeadershipState("ours")
    state.saw(5, "theirs", 0.0)
    state.saw_none(1.0)
    assert state.due(1.0) == Write(0, 1.0)
    careful = LeadershipState("ours")
    careful.saw(5, "theirs", 0.0)
    careful.store_was_away(1.0)
    careful.saw_none(1.0)
    assert (careful.due(1.0), careful.wait_s(1.0)) == (None, TAKEOVER_S)


def test_the_same_name_is_another_process() -> None:
    """What counts is the process: one that was started again waits for its own last life too."""
    state = LeadershipState("second life")
    state.saw(5, "first life", 0.0)
    assert state.due(TAKEOVER_S - 0.1) is None


def test_a_write_whose_answer_was_lost_is_found_again() -> None:
    """The key names us: of a standby it is written again, of a leader the next renewal is based on it."""
    state = LeadershipState("ours")
    state.saw(5, "theirs", 0.0)
    assert state.due(TAKEOVER_S) is not None
    state.failed(TAKEOVER_S + 1, conflict=False)
    state.saw(6, "ours", TAKEOVER_S + 1)
    assert not state.leads(TAKEOVER_S + 1)
    assert state.due(TAKEOVER_S + 2) == Write(6, TAKEOVER_S + 2)
    led = leader()
    led.due(RENEW_S)
    led.failed(RENEW_S + 0.8, conflict=False)
    led.saw(2, "ours", RENEW_S + 0.9)
    assert led.due(RENEW_S + 1.5) == Write(2, RENEW_S + 1.5)


@pytest.mark.parametrize("gone", [True, False])
def test_a_leader_that_sees_the_key_taken_ends_at_once(gone: bool) -> None:
    """Its own time is not over, but there is no doubt; older news of the key change nothing."""
    state = leader()
    state.saw(0, "theirs", 0.5)
    assert state.leads(0.5)
    if gone:
        state.saw_none(0.5)
    else:
        state.saw(2, "theirs", 0.5)
    assert (state.leads(0.5), state.wait_s(0.5)) == (False, 0.0)


def test_giving_up_says_what_to_delete() -> None:
    """Only what is ours, and only while we lead."""
    state = leader()
    assert state.give_up(1.0) == 1
    assert not state.leads(1.0)
    standby = LeadershipState("ours")
    standby.saw(1, "theirs", 0.0)
    assert standby.give_up(1.0) is None


# --- simulated plants ---------------------------------------------------------------------------
@dataclass
class Times:
    """How badly a plant's messages and processes behave; seconds."""

    usual_delay: float
    worst_delay: float
    bad: float  # share of the messages that are delayed for up to the worst, or lost
    pauses: float  # how often a replica stops, a second
    ends: float  # how often one crashes or ends in order, a second


@dataclass
class Replica:
    """One replica with a clock of its own."""

    number: int
    rate: float
    offset: float
    state: LeadershipState
    life: int = 0
    heard: int = 0  # how much of the store's history
    paused_until: float = 0.0
    waits_for: Write | None = None

    def now(self, real_s: float) -> float:
        """Return what its clock shows."""
        return self.offset + real_s * self.rate


@dataclass
class Simulation:
    """Several replicas, and a store that they reach by messages which are late, lost, or overtaken.

    Attributes:
        led: Of each moment that was looked at, whether somebody led.
    """

    random: random.Random
    times: Times
    replicas: list[Replica] = field(default_factory=list)
    history: list[tuple[int, str | None]] = field(default_factory=lambda: [(0, None)])  # revision, holder
    led: list[tuple[float, bool]] = field(default_factory=list)
    now_s: float = 0.0
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: count[int] = field(default_factory=count)
    _lives: count[int] = field(default_factory=count)

    def add(self, rate: float) -> None:
        """Add a replica whose clock runs at `rate`."""
        number = len(self.replicas)
        replica = Replica(number, rate, self.random.uniform(0, 1e6), LeadershipState(""))
        self.replicas.append(replica)
        self._begin(replica)

    def run(self, until_s: float) -> None:
        """Let time pass; there are never two leaders."""
        while self._events and self._events[0][0] <= until_s:
            self.now_s, _, event = heapq.heappop(self._events)
            event()
            leaders = [each for each in self.replicas if each.state.leads(each.now(self.now_s))]
            assert len(leaders) <= 1, f"at {self.now_s} s two lead: {leaders}"
            self.led.append((self.now_s, bool(leaders)))

    def longest_without_leader(self) -> float:
        """Return for how many seconds nobody led, at the worst."""
        longest, since = 0.0, 0.0
        for at_s, led in self.led:
            longest = max(longest, at_s - since)
            if led:
                since = at_s
        return longest

    # --- the replicas -------------------------------------------------------------------------
    def _begin(self, replica: Replica) -> None:
        replica.life = next(self._lives)
        replica.state = LeadershipState(f"life {replica.life}")
        replica.heard, replica.waits_for = 0, None
        self._of(replica, self._delay(), lambda: self._hear(replica))
        self._look_later(replica)
        if self.times.pauses:
            self._of(replica, self.random.expovariate(self.times.pauses), lambda: self._pause(replica))
        if self.times.ends:
            self._of(replica, self.random.expovariate(self.times.ends), lambda: self._end(replica))

    def _look_later(self, replica: Replica) -> None:
        wait_s = replica.state.wait_s(replica.now(self.now_s))
        wait_s = 0.5 if wait_s is None else min(wait_s / replica.rate, 0.5)
        self._of(replica, wait_s + self.random.uniform(0, 0.02), lambda: self._look(replica))

    def _look(self, replica: Replica) -> None:
        state, now_s = replica.state, replica.now(self.now_s)
        write = state.due(now_s)
        if state.lost is not None:
            self._at(self._delay(), lambda: self._begin(replica))
            replica.life = -1  # nothing of this life happens any more
            return
        if write is not None:
            replica.waits_for = write
            self._send(replica, write)
        self._look_later(replica)

    def _send(self, replica: Replica, write: Write) -> None:
        holder, life = replica.state.instance, replica.life

        def apply() -> None:
            result = self._write(write.last, holder)
            if self.random.random() > self.times.bad / 2:
                self._of(replica, self._delay(), lambda: answer(result), life)

        def answer(result: int | None) -> None:
            if replica.waits_for is not write:
                return  # it waits no longer
            replica.waits_for = None
            if result is None:
                replica.state.failed(replica.now(self.now_s), conflict=True)
            else:
                replica.state.acknowledged(result, replica.now(self.now_s))
                if self.random.random() < self.times.pauses:
                    replica.paused_until = self.now_s + 8.0  # at the worst moment

        def give_up() -> None:
            if replica.waits_for is write:
                replica.waits_for = None
                replica.state.failed(replica.now(self.now_s), conflict=False)

        if self.random.random() > self.times.bad / 2:
            self._at(self._delay(), apply)
        self._of(replica, self.random.choice([0.8, 5.0]), give_up)

    def _hear(self, replica: Replica) -> None:
        """Hear the next of the store's history; sometimes all of it at once, as after a reconnect."""
        reload = self.random.random() < 0.05
        while replica.heard < len(self.history):
            revision, holder = self.history[-1] if reload else self.history[replica.heard]
            replica.heard = len(self.history) if reload else replica.heard + 1
            if holder is None:
                replica.state.saw_none(replica.now(self.now_s))
            else:
                replica.state.saw(revision, holder, replica.now(self.now_s))
            if self.random.random() < 0.2:
                break
        self._of(replica, self._delay(), lambda: self._hear(replica))

    def _pause(self, replica: Replica) -> None:
        replica.paused_until = self.now_s + self.random.choice([0.5, 3.0, 5.0, 8.0, 20.0])
        self._of(replica, self.random.expovariate(self.times.pauses), lambda: self._pause(replica))

    def _end(self, replica: Replica) -> None:
        revision = replica.state.give_up(replica.now(self.now_s))
        if revision is not None and self.random.random() < 0.5:
            self._at(self._delay(), lambda: self._delete(revision))
        replica.life = -1
        self._at(self.random.uniform(0.1, 3.0), lambda: self._begin(replica))

    # --- the store ----------------------------------------------------------------------------
    def _write(self, last: int, holder: str) -> int | None:
        revision, present = self.history[-1]
        if last != (revision if present is not None else 0):
            return None
        self.history.append((revision + 1, holder))
        return revision + 1

    def _delete(self, last: int) -> None:
        revision, holder = self.history[-1]
        if holder is not None and revision == last:
            self.history.append((revision + 1, None))

    # --- time ---------------------------------------------------------------------------------
    def _delay(self) -> float:
        if self.random.random() < self.times.bad:
            return self.random.uniform(0, self.times.worst_delay)
        return self.random.uniform(0, self.times.usual_delay)

    def _at(self, in_s: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now_s + in_s, next(self._order), event))

    def _of(self, replica: Replica, in_s: float, event: Callable[[], None], life: int | None = None) -> None:
        """Have something happen to a replica: not while it is paused, and only in this life of it."""
        life = replica.life if life is None else life

        def happen() -> None:
            if replica.life != life:
                return
            if replica.paused_until > self.now_s:
                self._of(replica, replica.paused_until - self.now_s, event, life)
            else:
                event()

        self._at(in_s, happen)


HOSTILE = st.builds(
    Times,
    usual_delay=st.sampled_from([0.01, 0.3, 1.0]),
    worst_delay=st.sampled_from([2.0, 4.0, 15.0]),
    bad=st.sampled_from([0.05, 0.2, 0.5]),
    pauses=st.sampled_from([0.0, 0.05, 0.3]),
    ends=st.sampled_from([0.0, 0.02, 0.1]),
)
SEEDS = st.integers(0, 2**64 - 1)


@settings(max_examples=1000, deadline=None)
@given(seed=SEEDS, times=HOSTILE, rates=st.lists(st.floats(0.9, 1.1), min_size=2, max_size=4))
def test_there_are_never_two_leaders(seed: int, times: Times, rates: list[float]) -> None:
    """Whatever is late, lost, stopped or ended, with clocks that are up to 10 percent wrong."""
    simulation = Simulation(random.Random(seed), times)
    for rate in rates:
        simulation.add(rate)
    simulation.run(until_s=120.0)


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, rates=st.lists(st.floats(0.9, 1.1), min_size=2, max_size=3))
def test_in_good_times_somebody_always_leads(seed: int, rates: list[float]) -> None:
    """Replicas crash and end, one at a time mostly; the next one leads within TAKEOVER_S and a little."""
    simulation = Simulation(random.Random(seed), Times(0.05, 0.05, bad=0.0, pauses=0.0, ends=0.01))
    for rate in rates:
        simulation.add(rate)
    simulation.run(until_s=200.0)
    assert simulation.longest_without_leader() < TAKEOVER_S / 0.9 + 4.0  # all may be away for 3 s


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, rates=st.lists(st.floats(0.9, 1.1), min_size=2, max_size=3))
def test_a_leader_that_is_well_stays(seed: int, rates: list[float]) -> None:
    """With every answer within half a second nobody takes over, for ever."""
    simulation = Simulation(random.Random(seed), Times(0.25, 0.25, bad=0.0, pauses=0.0, ends=0.0))
    for rate in rates:
        simulation.add(rate)
    simulation.run(until_s=200.0)
    assert len({holder for _, holder in simulation.history if holder}) == 1
    assert all(led for at_s, led in simulation.led if at_s > 2.0)
