"""When a process that died is started again, and when not. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """The rule.

    Attributes:
        first_s: The pause after a first death.
        factor: By what the pause grows with each further death in a row.
        longest_s: The longest pause.
        stable_s: Who served this long before it died, died for the first time.
        patience: So many deaths in a row are worth a closer look; of a process
            that never served since the supervisor started, they are its end.
    """

    first_s: float = 0.1
    factor: float = 2.0
    longest_s: float = 10.0
    stable_s: float = 10.0
    patience: int = 3


@dataclass(frozen=True, slots=True)
class Again:
    """Start it again after a pause. `troubled`: it died `patience` times or more in a row."""

    after_s: float
    deaths: int
    troubled: bool


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It never served, and died `deaths` times: starting it again would not help."""

    deaths: int


@dataclass(slots=True)
class Restarts:
    """The deaths of one process, and what follows from each."""

    policy: RestartPolicy
    in_a_row: int = 0
    total: int = 0
    ever_served: bool = False

    def served(self) -> None:
        """It serves."""
        self.ever_served = True

    def died(self, served_s: float | None) -> Again | GiveUp:
        """Return what to do about a death after `served_s` seconds of serving, None: it did not serve."""
        if served_s is not None and served_s >= self.policy.stable_s:
            self.in_a_row = 0
        self.in_a_row += 1
        self.total += 1
        if not self.ever_served and self.in_a_row >= self.policy.patience:
            return GiveUp(self.in_a_row)
        pause_s = min(
            self.policy.first_s * self.policy.factor ** min(self.in_a_row - 1, 30), self.policy.longest_s
        )
        return Again(pause_s, self.in_a_row, self.in_a_row >= self.policy.patience)
