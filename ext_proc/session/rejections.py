"""What a session could not use: counted by reason, each with enough of the first one to find its device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

MAX_REASONS: Final = 64  # reasons are a few fixed sentences; this only bounds a mistake
OTHER: Final = "other"
HEAD_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Rejection:
    """Frames, records or readings that were not used.

    Attributes:
        reason: Why: a name of wire.journal.Verdict in lower case, or one of a few sentences.
        count: How many.
        epoch: Of the first of them; 0 if not known.
        offset: Where in the body of the stream the first of them (or its frame) begins.
        head: The bytes there, HEAD_BYTES at most.
    """

    reason: str
    count: int
    epoch: int
    offset: int
    head: bytes


class Rejections:
    """Rejections of one stream since they were taken last, one for each reason."""

    __slots__ = ("_by_reason",)

    def __init__(self) -> None:
        self._by_reason: dict[str, Rejection] = {}

    def __bool__(self) -> bool:
        return bool(self._by_reason)

    def add(self, reason: str, count: int, epoch: int, offset: int, head: bytes) -> None:
        """Count `count` more; of each reason the first one's place is kept."""
        known = self._by_reason.get(reason)
        if known is None and len(self._by_reason) >= MAX_REASONS:
            reason, known = OTHER, self._by_reason.get(OTHER)
        if known is None:
            self._by_reason[reason] = Rejection(reason, count, epoch, offset, head[:HEAD_BYTES])
        else:
            self._by_reason[reason] = replace(known, count=known.count + count)

    def take(self) -> list[Rejection]:
        """Return what was added since the last call."""
        taken = list(self._by_reason.values())
        self._by_reason.clear()
        return taken
