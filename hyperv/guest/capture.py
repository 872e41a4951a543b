"""What an agent captures, as a pure schedule: which readings are due by `now`."""

from __future__ import annotations

from typing import Final, Protocol

from hyperv.guest.machine import UNITS, MachineReader
from hyperv.guest.segments import Captured
from hyperv.guest.spec import AgentSpec, MachineSource, Metric, ReplaySource
from hyperv.recordings import Recording, load

NS_PER_S: Final = 1_000_000_000
_MOST_DUE: Final = 10_000  # at once: a machine that slept is caught up with piece by piece


class Capture(Protocol):
    """A source of readings."""

    def due(self, now_unix_ns: int) -> list[Captured]:
        """Return readings that have become due, oldest first: all, or as many as make one piece."""

    def next_due_unix_ns(self) -> int:
        """Return when the next reading becomes due."""


class ReplayCapture:
    """A recording, `speed` times as fast as it was recorded.

    `captured` readings were taken before this process began; the next follows
    them in the recording. Event times keep the recording's spacing and never
    go back behind `last_unix_ns`.
    """

    def __init__(
        self,
        metric: Metric,
        recording: Recording,
        source: ReplaySource,
        *,
        captured: int,
        start_unix_ns: int,
    ) -> None:
        self._metric = metric
        self._recording = recording
        self._speed = source.speed
        self._loop = source.loop
        self._index = captured
        self._time = start_unix_ns

    def due(self, now_unix_ns: int) -> list[Captured]:
        """See Capture."""
        readings: list[Captured] = []
        while not self._ended() and self._time <= now_unix_ns and len(readings) < _MOST_DUE:
            place = self._index % len(self._recording.values)
            value = self._recording.values[place]
            readings.append(Captured(self._metric.name, self._metric.unit, self._time, value))
            self._index += 1
            self._time += self._spacing_ns()
        return readings

    def next_due_unix_ns(self) -> int:
        """See Capture."""
        return 2**63 - 1 if self._ended() else self._time

    def _ended(self) -> bool:
        return not self._loop and self._index >= len(self._recording.values)

    def _spacing_ns(self) -> int:
        """Time to the reading at the index, after the one before it."""
        times = self._recording.times_s
        place = self._index % len(times)
        seconds = times[place] - times[place - 1] if place else times[1] - times[0]
        return max(1, int(max(0, seconds) * NS_PER_S / self._speed))


class MachineCapture:
    """Quantities of this machine, every `interval_ms`, at the times that its clock shows.

    A clock that is set back does not stop the capture: event times go back with it.
    """

    def __init__(self, spec: AgentSpec, source: MachineSource, start_unix_ns: int) -> None:
        self._interval_ns = source.interval_ms * 1_000_000
        self._time = start_unix_ns
        self._reader = MachineReader(tuple(metric.name for metric in spec.metrics))

    def due(self, now_unix_ns: int) -> list[Captured]:
        """See Capture."""
        if self._time - now_unix_ns > self._interval_ns:
            self._time = now_unix_ns
        if now_unix_ns < self._time:
            return []
        missed = (now_unix_ns - self._time) // self._interval_ns
        self._time += (missed + 1) * self._interval_ns
        values = self._reader.read(now_unix_ns)
        return [Captured(name, UNITS[name], now_unix_ns, value) for name, value in values.items()]

    def next_due_unix_ns(self) -> int:
        """See Capture."""
        return self._time


def make_capture(spec: AgentSpec, captured: int, last_unix_ns: int | None, now_unix_ns: int) -> Capture:
    """Return the capture of a spec, going on after `captured` readings, the newest at `last_unix_ns`."""
    if isinstance(spec.source, MachineSource):
        return MachineCapture(spec, spec.source, now_unix_ns)
    start = max(now_unix_ns, (last_unix_ns or 0) + 1)
    recording = load(spec.source.recording)
    return ReplayCapture(spec.metrics[0], recording, spec.source, captured=captured, start_unix_ns=start)
