"""What the follower is told of a sensor."""

from __future__ import annotations

from dataclasses import dataclass

from ext_proc.session.model import SensorProfile


@dataclass(frozen=True, slots=True)
class Assignment:
    """A sensor to follow, and where."""

    profile: SensorProfile
    shard: int
    cluster: str
    endpoint_version: str

    @property
    def place(self) -> tuple[int, str, str]:
        """What cannot change without a reset of the stream."""
        return self.shard, self.cluster, self.endpoint_version
