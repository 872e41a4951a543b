"""The last status of every worker and sink. Pure: `now_s` is an argument, monotonic seconds.

Ages are by our own clock, from when a status came: those of other machines differ.

A worker's status names each of its streams, and comes each second: with 10,000
of them it takes 50 ms to read. It is read when somebody looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import structlog
from pydantic import ValidationError

from control_plane.reconcile.verdict import Heard
from wire.status import SinkStatus, StreamStatus, WorkerStatus

log = structlog.get_logger(__name__)

SILENT_S: Final = 10.0  # after which a sink is shown as failed
FORGET_S: Final = 600.0  # after which whoever is silent is not shown at all


@dataclass(frozen=True, slots=True)
class _Worker:
    status: WorkerStatus
    streams: dict[str, StreamStatus]
    at_s: float


class StatusBoard:
    """Holds what was said last."""

    def __init__(self) -> None:
        self._workers: dict[str, _Worker] = {}
        self._unread: dict[str, tuple[bytes, float]] = {}  # newer than those
        self._sinks: dict[str, tuple[SinkStatus, float]] = {}

    def worker_said(self, node_id: str, data: bytes, now_s: float) -> None:
        """Take a WorkerStatus as JSON; it is read later, and passed over if it cannot be."""
        self._unread[node_id] = data, now_s

    def sink_said(self, data: bytes, now_s: float) -> None:
        """Take a SinkStatus as JSON. Raises pydantic.ValidationError."""
        status = SinkStatus.model_validate_json(data)
        self._sinks[status.sink] = status, now_s

    def heard(self, now_s: float, *, audible: bool = True) -> dict[str, Heard]:
        """Return what each worker said last, by node id; `audible` as in Heard."""
        unread, self._unread = self._unread, {}
        for node_id, (data, at_s) in unread.items():
            self._read(node_id, data, at_s)
        self._workers = {key: each for key, each in self._workers.items() if now_s - each.at_s <= FORGET_S}
        return {
            key: Heard(each.status, each.streams, now_s - each.at_s, audible)
            for key, each in self._workers.items()
        }

    def _read(self, node_id: str, data: bytes, at_s: float) -> None:
        try:
            status = WorkerStatus.model_validate_json(data)
        except ValidationError as error:
            log.warning("status_unreadable", worker=node_id, reason=str(error))
            return
        streams = {stream.sensor_id: stream for stream in status.streams}
        self._workers[node_id] = _Worker(status, streams, at_s)

    def sinks(self, now_s: float) -> list[SinkStatus]:
        """Return what each sink said last, by name; of one that is silent, that it is."""
        self._sinks = {
            key: (status, at_s) for key, (status, at_s) in self._sinks.items() if now_s - at_s <= FORGET_S
        }
        return [_as_of(status, now_s - at_s) for _, (status, at_s) in sorted(self._sinks.items())]


def _as_of(status: SinkStatus, age_s: float) -> SinkStatus:
    if age_s <= SILENT_S:
        return status
    last = f"; its last words: {status.message}" if status.message else ""
    message = f"has been silent for {age_s:.0f} s{last}"
    return status.model_copy(update={"state": "failed", "message": message})
