"""Input that workers could not use, as a metric: what the last status of each said."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from control_plane.observe.board import StatusBoard


class RejectedInput(Collector):
    """Counts by node and reason since each worker began; a worker that is silent for long is left out."""

    def __init__(self, board: StatusBoard, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._board = board
        self._monotonic_s = monotonic_s

    def collect(self) -> Iterable[Metric]:
        """Return the metric."""
        family = CounterMetricFamily(
            "gaugeway_worker_rejected_input",
            "Frames, records and readings of sensors that a worker could not use, by reason.",
            labels=("node_id", "reason"),
        )
        for node_id, heard in sorted(self._board.heard(self._monotonic_s()).items()):
            for reason, count in sorted(heard.status.rejected.items()):
                family.add_metric((node_id, reason), count)
        yield family
