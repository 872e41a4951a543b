"""Captures are pure schedules: what is due when."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hyperv.guest.capture import MachineCapture, ReplayCapture, make_capture
from hyperv.guest.machine import UNITS, available
from hyperv.guest.segments import Captured
from hyperv.guest.spec import AgentSpec, MachineSource, Metric, ReplaySource, read_spec
from hyperv.model import VmSpec
from hyperv.recordings import Recording, load
from tests.hyperv.support import machine_spec, replay_spec

S = 1_000_000_000
TEMPERATURE = Metric("temperature", "[degF]")
RECORDING = Recording("test", (100, 400, 400, 1000, 900), (1.0, 2.0, 3.0, 4.0, 5.0), ())


def replay(speed: float = 100.0, *, loop: bool = True, captured: int = 0, start: int = 0) -> ReplayCapture:
    """Return a capture of RECORDING."""
    source = ReplaySource("test", speed, loop)
    return ReplayCapture(TEMPERATURE, RECORDING, source, captured=captured, start_unix_ns=start)


def brief(readings: list[Captured]) -> list[tuple[int, float]]:
    """Return (time, value) of readings."""
    return [(reading.time_unix_ns, reading.value) for reading in readings]


def test_a_replay_keeps_the_spacing_of_the_recording() -> None:
    """Divided by the speed; repeated and backward timestamps come 1 ns later, so times always rise."""
    readings = replay().due(100 * S)
    assert brief(readings[:5]) == [(0, 1), (3 * S, 2), (3 * S + 1, 3), (9 * S + 1, 4), (9 * S + 2, 5)]
    assert {(reading.metric, reading.unit, reading.quality) for reading in readings} == {
        ("temperature", "[degF]", 0)
    }


def test_a_replay_begins_again_at_the_end() -> None:
    """The spacing over the seam is the recording's first."""
    readings = replay().due(15 * S)
    assert brief(readings[5:7]) == [(12 * S + 2, 1), (15 * S + 2, 2)][: len(readings) - 5]


def test_a_replay_that_does_not_loop_ends() -> None:
    """Nothing is due ever after."""
    capture = replay(loop=False)
    assert len(capture.due(100 * S)) == 5
    assert capture.due(10**18) == []
    assert capture.next_due_unix_ns() == 2**63 - 1


def test_a_replay_goes_on_after_a_restart() -> None:
    """With the reading after the last that was committed, not before the present."""
    begun = brief(replay().due(4 * S))
    assert len(begun) == 3
    resumed = replay(captured=3, start=50 * S)
    assert resumed.next_due_unix_ns() == 50 * S
    assert brief(resumed.due(50 * S)) == [(50 * S, 4), (50 * S + 1, 5)][:1]
    assert brief(replay(captured=13, start=50 * S).due(50 * S)) == [(50 * S, 4)]


@settings(deadline=None)
@given(
    steps=st.lists(st.integers(0, 20 * S), max_size=40),
    speed=st.sampled_from([0.5, 1.0, 100.0, 333.3, 20_000.0]),
    restarts=st.sets(st.integers(0, 40)),
)
def test_whenever_it_is_asked_a_replay_gives_each_reading_once(
    steps: list[int], speed: float, restarts: set[int]
) -> None:
    """In the recording's order, at rising times, none before it is due; restarts change nothing of it."""
    capture = replay(speed)
    now, taken = 0, list[Captured]()
    for place, step in enumerate(steps):
        now += step
        if place in restarts:
            start = max(now, taken[-1].time_unix_ns + 1 if taken else 0)
            capture = replay(speed, captured=len(taken), start=start)
        due_at = capture.next_due_unix_ns()
        due = capture.due(now)
        assert bool(due) == (due_at <= now)
        assert all(reading.time_unix_ns <= now for reading in due)
        taken += due
    values = RECORDING.values
    assert [reading.value for reading in taken] == [values[n % len(values)] for n in range(len(taken))]
    times = [reading.time_unix_ns for reading in taken]
    assert times == sorted(set(times))


def test_a_long_sleep_is_caught_up_with_piece_by_piece() -> None:
    """Nothing is skipped, and no piece is too large for memory."""
    capture = replay(1e6)
    pieces = [capture.due(60 * S) for _ in range(3)]
    assert [len(piece) for piece in pieces] == [10_000] * 3
    assert pieces[1][0].time_unix_ns > pieces[0][-1].time_unix_ns


def test_the_machine_is_read_once_an_interval() -> None:
    """Missed intervals are not made up for; rates begin with the second reading."""
    spec = read_spec(machine_spec().model_dump_json())
    assert isinstance(spec.source, MachineSource)
    capture = MachineCapture(spec, spec.source, S)
    assert capture.due(S - 1) == []
    first = capture.due(S)
    assert [reading.metric for reading in first] == ["memory_used"]
    assert 0 < first[0].value < 100
    assert capture.next_due_unix_ns() == S + 20_000_000
    second = capture.due(S + 95_000_000)
    assert [reading.metric for reading in second] == ["memory_used", "net_receive"]
    assert {reading.time_unix_ns for reading in second} == {S + 95_000_000}
    assert second[1].value >= 0
    assert capture.next_due_unix_ns() == S + 100_000_000


def test_a_clock_that_is_set_back_does_not_stop_the_machine() -> None:
    """The capture goes on at the times that the clock now shows, also after a restart."""
    spec = read_spec(machine_spec().model_dump_json())
    assert isinstance(spec.source, MachineSource)
    capture = MachineCapture(spec, spec.source, 7200 * S)
    assert capture.due(7200 * S)
    back = capture.due(3600 * S)
    assert {reading.time_unix_ns for reading in back} == {3600 * S}
    assert capture.next_due_unix_ns() == 3600 * S + 20_000_000
    assert make_capture(spec, 5, 7200 * S, 3600 * S).next_due_unix_ns() == 3600 * S


def test_every_quantity_that_is_available_can_be_read() -> None:
    """With its unit, from the second reading at the latest."""
    names = available()
    assert {"cpu_load", "memory_used", "net_receive"} <= set(names) <= set(UNITS)
    spec = AgentSpec("a", tuple(Metric(name, UNITS[name]) for name in names), MachineSource(10), 10, 65_536)
    capture = make_capture(spec, 0, None, S)
    capture.due(S)
    assert [(r.metric, r.unit) for r in capture.due(2 * S)] == [(name, UNITS[name]) for name in names]


def test_a_capture_never_goes_back_behind_what_is_committed() -> None:
    """A clock that was set back does not make event times go back."""
    spec = read_spec(replay_spec().model_dump_json())
    assert make_capture(spec, 5, 100 * S, 50 * S).next_due_unix_ns() == 100 * S + 1
    assert make_capture(spec, 5, 10 * S, 50 * S).next_due_unix_ns() == 50 * S
    [reading] = make_capture(spec, 5, None, 50 * S).due(50 * S)
    assert reading.value == load("machine_temperature").values[5]


def test_the_agent_reads_what_the_host_writes() -> None:
    """`AgentSpec` says what `VmSpec` says, for both kinds of source."""
    for spec in (replay_spec(), machine_spec()):
        read = read_spec(spec.model_dump_json())
        assert set(read.__slots__) == set(VmSpec.model_fields)
        assert [(metric.name, metric.unit) for metric in read.metrics] == [
            (metric.name, metric.unit) for metric in spec.metrics
        ]
        for name in ("sensor_id", "flush_ms", "spool_bytes"):
            assert getattr(read, name) == getattr(spec, name)
        assert {name: getattr(read.source, name) for name in read.source.__slots__} == spec.source.model_dump(
            exclude={"kind"}
        )
