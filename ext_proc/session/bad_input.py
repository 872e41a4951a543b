"""What a worker could not use of all its streams: counts by reason, the newest places, and what to log."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ext_proc.session.rejections import Rejection
from wire.senml import NOT_NUMERIC

MAX_SAMPLES: Final = 32
LOG_EVERY_NS: Final = 10_000_000_000  # for one reason of one sensor
LOG_LINES: Final = 20  # of all sensors in that time
_MAX_LOGGED: Final = 4096


@dataclass(frozen=True, slots=True)
class Sample:
    """The newest rejection of a sensor for a reason: enough to find the device, and the bytes.

    Attributes:
        sensor_id: The sensor.
        stream: Which of its streams it was, counted from 1 since the worker follows it.
        rejection: Reason, count in that piece of body, epoch, offset, first bytes.
        at_unix_ns: When.
    """

    sensor_id: str
    stream: int
    rejection: Rejection
    at_unix_ns: int


@dataclass(frozen=True, slots=True)
class LogLine:
    """A sample to log, and how many more there were that were not logged, of whatever sensor and reason."""

    sample: Sample
    unlogged: int


class BadInput:
    """Counts since the worker began; its memory is bounded whatever comes.

    Attributes:
        counts: Frames, records and readings that were not used, by reason.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._samples: OrderedDict[tuple[str, str], Sample] = OrderedDict()
        self._logged: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._span_began_ns = 0
        self._lines = 0
        self._unlogged = 0

    @property
    def samples(self) -> list[Sample]:
        """The newest of each sensor and reason, the newest first; MAX_SAMPLES at most."""
        return list(reversed(self._samples.values()))

    def add(
        self, sensor_id: str, stream: int, rejections: Sequence[Rejection], now_unix_ns: int
    ) -> list[LogLine]:
        """Count what a stream could not use; return what to log of it."""
        lines = []
        for rejection in rejections:
            self.counts[rejection.reason] = self.counts.get(rejection.reason, 0) + rejection.count
            if rejection.reason in NOT_NUMERIC:
                continue  # nothing is wrong with a device that also tells a switch's position
            key = sensor_id, rejection.reason
            sample = Sample(sensor_id, stream, rejection, now_unix_ns)
            self._samples[key] = sample
            self._samples.move_to_end(key)
            if len(self._samples) > MAX_SAMPLES:
                self._samples.popitem(last=False)
            if self._may_log(key, now_unix_ns):
                lines.append(LogLine(sample, self._unlogged))
                self._unlogged = 0
            else:
                self._unlogged += rejection.count
        return lines

    def _may_log(self, key: tuple[str, str], now_unix_ns: int) -> bool:
        if not 0 <= now_unix_ns - self._span_began_ns < LOG_EVERY_NS:
            self._span_began_ns, self._lines = now_unix_ns, 0
        last = self._logged.get(key)
        recent = last is not None and 0 <= now_unix_ns - last < LOG_EVERY_NS
        if recent or self._lines >= LOG_LINES:
            return False
        self._lines += 1
        self._logged[key] = now_unix_ns
        self._logged.move_to_end(key)
        if len(self._logged) > _MAX_LOGGED:
            self._logged.popitem(last=False)
        return True
