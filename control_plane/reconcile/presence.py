"""How long nodes have been here, or away. Pure: `now_s` is an argument, monotonic seconds."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from control_plane.xds.node import NodeKey

FORGET_S: Final = 3600.0
MAX_AWAY: Final = 1_000


class Presence:
    """Since when each node is connected or away, as far as was looked.

    A node counts as it was at the last look until this one: looks may be far
    apart while nothing happens.
    """

    def __init__(self) -> None:
        self._away_since_s: dict[NodeKey, float] = {}
        self._here_since_s: dict[NodeKey, float] = {}

    def look(self, known: Collection[NodeKey], connected: Collection[NodeKey], now_s: float) -> None:
        """Note which of the known nodes are connected."""
        away = self._away_since_s
        self._away_since_s = {key: away.get(key, now_s) for key in known if key not in connected}
        self._here_since_s = {key: self._here_since_s.get(key, now_s) for key in connected}

    def gone(self, kept: Collection[str], now_s: float) -> list[NodeKey]:
        """Return the nodes that are gone for good, but for those whose id is in `kept`.

        They are away for longer than FORGET_S, or longest among more than MAX_AWAY:
        nodes whose ids are made up anew at each start must not add up.
        """
        away = sorted((at_s, key) for key, at_s in self._away_since_s.items() if key.node_id not in kept)
        excess = len(away) - MAX_AWAY
        return [key for index, (at_s, key) in enumerate(away) if index < excess or now_s - at_s > FORGET_S]

    def away_s(self, key: NodeKey, now_s: float) -> float:
        """Return how long a node has been away; 0 if it is not."""
        return now_s - self._away_since_s.get(key, now_s)

    def here_s(self, key: NodeKey, now_s: float) -> float:
        """Return how long a node has been connected; 0 if it is not."""
        return now_s - self._here_since_s.get(key, now_s)
