"""What one sensor's stream is doing, as its status says it. Pure."""

from __future__ import annotations

from typing import Final, Literal

from wire.ids import format_epoch
from wire.status import StreamReport

_NS: Final = 1_000_000_000

State = Literal["connecting", "live", "silent", "backoff"]


class StreamState:
    """State, counters and the last failure of a sensor's stream.

    connecting -> live on the first frame; live -> silent when frames stay
    away; connecting, live or silent -> backoff when the stream ends. A stream
    that fell silent stays so while it is opened again, until a frame comes or
    opening fails. So does one that is live because its device has answered with
    all that it has: it is asked again.
    """

    def __init__(self, sensor_id: str, endpoint_version: str, now_unix_ns: int) -> None:
        self._sensor_id = sensor_id
        self._endpoint_version = endpoint_version
        self._since_unix_ns = now_unix_ns
        self._readings = 0
        self._measured = (now_unix_ns, 0)
        self._rate = 0.0
        self._last_reading_unix_ns: int | None = None
        self._opened = 0
        self._answered = False
        self.state: State = "connecting"
        self.error: str | None = None

    def opening(self, now_unix_ns: int) -> None:
        """An attempt to open the stream begins."""
        self._opened += 1
        if self.state != "silent" and not self._answered:
            self._enter("connecting", now_unix_ns)

    def frames(self, readings: int, now_unix_ns: int) -> None:
        """Frames came, with `readings` new readings in them."""
        self._enter("live", now_unix_ns)
        self.error = None
        if readings:
            self._readings += readings
            self._last_reading_unix_ns = now_unix_ns

    def answered(self) -> None:
        """The device has answered, in order, with all that it has."""
        self._answered = True

    def silent(self, after_s: float, now_unix_ns: int) -> None:
        """No frame came for `after_s` although the worker was reading."""
        self._answered = False
        self._enter("silent", now_unix_ns)
        self.error = f"no frame for {after_s:g} s"

    def ended(self, reason: str, now_unix_ns: int) -> None:
        """The stream ended, or could not be opened, for `reason`."""
        self._answered = False
        self._enter("backoff", now_unix_ns)
        self.error = reason

    def status(
        self, accepted: tuple[int, int] | None, committed: tuple[int, int] | None, now_unix_ns: int
    ) -> StreamReport:
        """Return the status; the rate is that since the last call.

        Args:
            accepted: (epoch, seq) of the accepted cursor.
            committed: (epoch, seq) of the committed one.
            now_unix_ns: The time.
        """
        then, readings = self._measured
        if now_unix_ns > then:
            self._rate = (self._readings - readings) * _NS / (now_unix_ns - then)
            self._measured = (now_unix_ns, self._readings)
        return StreamReport(
            sensor_id=self._sensor_id,
            state=self.state,
            since_unix_ns=self._since_unix_ns,
            endpoint_version=self._endpoint_version,
            epoch=format_epoch(accepted[0]) if accepted else None,
            accepted_seq=accepted[1] if accepted else 0,
            committed_seq=committed[1] if committed else 0,
            readings_per_s=round(self._rate, 3),
            last_reading_unix_ns=self._last_reading_unix_ns,
            reconnects=max(0, self._opened - 1),
            error=self.error,
        )

    def _enter(self, state: State, now_unix_ns: int) -> None:
        if state != self.state:
            self.state = state
            self._since_unix_ns = now_unix_ns
