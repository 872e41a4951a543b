"""Which of several control planes leads, as one of them sees it. Pure.

One KV key names the leader, who writes it again and again by compare-and-set;
`now_s` is this machine's own monotonic clock, and no two clocks are compared.

Invariants:
  L1 A replica leads only by a write of its own that was acknowledged, and for
     no longer than LEAD_S after that write was begun.
  L2 It writes over another's key only after it has seen it at one revision for
     TAKEOVER_S, and only if it is at that revision still.
  L3 A replica that led and leads no more will never lead again: it has to be
     started anew.
Hence never two lead at once, however late writes, answers and news of the key
come, while no clock runs faster than another by TAKEOVER_S / LEAD_S or more:
a write takes effect after it was begun and is seen after it took effect, so
whoever waits begins to count later than the leader whom he waits for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RENEW_S: Final = 2.0
LEAD_S: Final = 4.0
TAKEOVER_S: Final = 6.0
RETRY_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Write:
    """Have the key say that this replica leads, if it is at revision `last` (0: if it is not there)."""

    last: int
    begun_s: float


@dataclass(slots=True)
class _Key:
    """The key as it was last seen, at `since_s` for the first time."""

    revision: int
    holder: str
    since_s: float


class LeadershipState:
    """Says what to write when. At most one write is under way.

    Attributes:
        instance: This process among all that ever were, also of the same name.
        lost: Why it leads no more; None: it still may, or will.
    """

    def __init__(self, instance: str) -> None:
        self.lost: str | None = None
        self.instance = instance
        self._looked = False  # the key was seen, or seen not to be there
        self._key: _Key | None = None
        self._revision = 0  # of our key, while we lead
        self._renewed_s = 0.0  # when the last write that was acknowledged was begun
        self._until_s: float | None = None  # we lead until then; None: we do not
        self._writing: Write | None = None
        self._retry_s = 0.0
        self._trust_s = 0.0  # from then on a key that is not there was given up

    def leads(self, now_s: float) -> bool:
        """Whether this replica may act as the leader now."""
        return self.lost is None and self._until_s is not None and now_s < self._until_s

    # --- what happened ----------------------------------------------------------------------
    def saw(self, revision: int, holder: str, now_s: float) -> None:
        """Take news of the key: who wrote that revision of it."""
        self._expire(now_s)
        self._looked = True
        if self._until_s is not None:
            if revision > self._revision and holder != self.instance:
                self._lose("another replica has taken over")
            elif revision > self._revision:
                self._revision = revision  # a write of ours whose answer was lost
        elif self._key is None or self._key.revision != revision:
            self._key = _Key(revision, holder, now_s)

    def saw_none(self, now_s: float) -> None:
        """Take news of the key: it is not there (any more)."""
        self._expire(now_s)
        self._looked = True
        self._key = None
        if self._until_s is not None:
            self._lose("somebody has deleted the key of the leader")

    def store_was_away(self, now_s: float) -> None:
        """The store is back. If it has lost the key, the leader may not have noticed yet."""
        self._trust_s = now_s + TAKEOVER_S

    def acknowledged(self, revision: int, now_s: float) -> None:
        """The write under way took effect, as that revision."""
        self._expire(now_s)
        write, self._writing = self._writing, None
        if write is None or self.lost is not None:
            return
        if self._until_s is None and now_s >= write.begun_s + LEAD_S:
            self._key = _Key(revision, self.instance, now_s)  # ours, but too late to lead by it
            return
        self._revision = max(revision, self._revision)
        self._renewed_s = write.begun_s
        self._until_s = write.begun_s + LEAD_S

    def failed(self, now_s: float, *, conflict: bool) -> None:
        """The write under way took no effect, or may not have.

        `conflict`: it did not, the key is at another revision.
        """
        self._expire(now_s)
        self._writing = None
        self._retry_s = now_s + RETRY_S
        if conflict and self._key is not None and self._key.holder != self.instance:
            self._key.since_s = now_s  # its holder lives; the news of it are late

    # --- what to do -------------------------------------------------------------------------
    def due(self, now_s: float) -> Write | None:
        """Return the write to begin now, noted as under way; None if none is due."""
        self._expire(now_s)
        if self.lost is not None or self._writing is not None or not self._looked:
            return None
        if now_s < self._due_s():
            return None
        last = self._revision if self._until_s is not None else self._key.revision if self._key else 0
        self._writing = Write(last, now_s)
        return self._writing

    def wait_s(self, now_s: float) -> float | None:
        """Return for how long there is nothing to do, if nothing happens; None: for ever."""
        self._expire(now_s)
        if self.lost is not None:
            return 0.0
        at = [] if self._until_s is None else [self._until_s]
        if self._looked and self._writing is None:
            at.append(self._due_s())
        return max(min(at) - now_s, 0.0) if at else None

    def give_up(self, now_s: float) -> int | None:
        """Lead no more; return the revision at which the key is to be deleted, None if it is not ours."""
        led = self.leads(now_s)
        if self.lost is None:
            self._lose("it was given up")
        return self._revision if led else None

    # ----------------------------------------------------------------------------------------
    def _due_s(self) -> float:
        if self._until_s is not None:
            return max(self._renewed_s + RENEW_S, self._retry_s)
        if self._key is None:
            return max(self._trust_s, self._retry_s)
        if self._key.holder == self.instance:
            return self._retry_s  # a write of ours whose answer was lost, or came late
        return max(self._key.since_s + TAKEOVER_S, self._retry_s)

    def _expire(self, now_s: float) -> None:
        if self._until_s is not None and self.lost is None and now_s >= self._until_s:
            self._lose(f"the store took no renewal for {LEAD_S:g} s")

    def _lose(self, reason: str) -> None:
        self.lost = reason
        self._until_s = None
