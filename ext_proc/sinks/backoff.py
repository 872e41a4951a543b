"""How long to wait before trying again. Pure: the caller brings the random number."""

from __future__ import annotations


class Backoff:
    """Doubling waits with jitter: between half and all of first, 2 first, 4 first, ... up to `most`."""

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s

    def wait_s(self, chance: float) -> float:
        """Return the next wait; `chance` is uniform in [0, 1)."""
        whole = self._next_s
        self._next_s = min(2 * whole, self._most_s)
        return whole * (0.5 + 0.5 * chance)

    def reset(self) -> None:
        """Begin again: it worked."""
        self._next_s = self._first_s
