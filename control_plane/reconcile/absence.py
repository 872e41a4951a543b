"""How long nodes have been away. Pure: `now_s` is an argument, monotonic seconds."""

from __future__ import annotations

from collections.abc import Collection

from control_plane.xds.node import NodeKey


class Absences:
    """Since when each node is away, as far as was looked.

    A node that was connected at the last look counts as connected until this
    one: looks may be far apart while nothing happens.
    """

    def __init__(self) -> None:
        self._since_s: dict[NodeKey, float] = {}

    def look(self, known: Collection[NodeKey], connected: Collection[NodeKey], now_s: float) -> None:
        """Note which of the known nodes are connected."""
        self._since_s = {key: self._since_s.get(key, now_s) for key in known if key not in connected}

    def away_s(self, key: NodeKey, now_s: float) -> float:
        """Return how long a node has been away; 0 if it is not."""
        return now_s - self._since_s.get(key, now_s)
