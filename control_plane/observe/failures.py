"""The last failure of each sensor's stream. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from control_plane.observe.access_log import Failure

_SLACK: Final = 256


class LastFailures:
    """Remembers one failure a sensor, and none of what is no sensor.

    Memory is bounded by the fleet, whatever is claimed to have failed: sensors
    that went are dropped when there are more of them than of the others.

    Args:
        known: Whether there is such a sensor.
    """

    def __init__(self, known: Callable[[str], bool]) -> None:
        self._known = known
        self._failures: dict[str, Failure] = {}
        self._sweep_at = _SLACK

    def note(self, sensor_id: str, failure: Failure) -> bool:
        """Remember a failure, unless a later one is known; return whether there is such a sensor.

        An Envoy has several log streams, and nothing orders them.
        """
        if not self._known(sensor_id):
            return False
        before = self._failures.get(sensor_id)
        if before is None or before.node != failure.node or before.ended_unix_ns <= failure.ended_unix_ns:
            self._failures[sensor_id] = failure
        if len(self._failures) > self._sweep_at:
            self._sweep()
        return True

    def of(self, sensor_id: str, since_unix_ns: int) -> Failure | None:
        """Return a sensor's last failure, if one was heard of since: an id may have had another life."""
        failure = self._failures.get(sensor_id)
        return None if failure is None or failure.heard_unix_ns < since_unix_ns else failure

    def __len__(self) -> int:
        return len(self._failures)

    def _sweep(self) -> None:
        self._failures = {key: each for key, each in self._failures.items() if self._known(key)}
        self._sweep_at = 2 * len(self._failures) + _SLACK
