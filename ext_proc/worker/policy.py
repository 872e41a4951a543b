"""The window policy that the control plane sent last."""

from __future__ import annotations

import time
from typing import Final

from ext_proc.session.model import TimeBounds
from ext_proc.worker.resources import time_bounds
from wire.gen.gaugeway.config.v1 import config_pb2

_LASTS_NS: Final = 1_000_000  # frames that come together are judged by one time


class PolicyInForce:
    """Held by whoever judges readings now; `policy` is None until one came."""

    def __init__(self) -> None:
        self.policy: config_pb2.WindowPolicy | None = None
        self._bounds = TimeBounds(0, 0, 0)

    def change(self, policy: config_pb2.WindowPolicy) -> None:
        """Judge by `policy` from here on."""
        self.policy = policy
        self._bounds = TimeBounds(0, 0, 0)

    def bounds(self) -> TimeBounds:
        """Return the event times that are accepted now. A shard is never open without a policy."""
        assert self.policy is not None
        now_unix_ns = time.time_ns()
        if now_unix_ns - self._bounds.now_unix_ns >= _LASTS_NS or now_unix_ns < self._bounds.now_unix_ns:
            self._bounds = time_bounds(self.policy, now_unix_ns)
        return self._bounds
