"""The window policy that the control plane sent last."""

from __future__ import annotations

import time

from ext_proc.session.model import TimeBounds
from ext_proc.worker.resources import time_bounds
from wire.gen.gaugeway.config.v1 import config_pb2


class PolicyInForce:
    """Held by whoever judges readings now; `policy` is None until one came."""

    def __init__(self) -> None:
        self.policy: config_pb2.WindowPolicy | None = None

    def change(self, policy: config_pb2.WindowPolicy) -> None:
        """Judge by `policy` from here on."""
        self.policy = policy

    def bounds(self) -> TimeBounds:
        """Return the event times that are accepted now. A shard is never open without a policy."""
        assert self.policy is not None
        return time_bounds(self.policy, time.time_ns())
