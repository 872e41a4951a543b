"""The accepted cursor of a sensor: how far each epoch of its spool was taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

KEPT_EPOCHS: Final = 8  # as many as the fold keeps


@dataclass(frozen=True, slots=True)
class Step:
    """What accepting first..last means: `skipped` numbers before it are a hole, `duplicates` lead it."""

    skipped: tuple[int, int] | None
    duplicates: int


class SensorCursor:
    """Highest accepted sequence number of the last few epochs, the newest last.

    Only ever moves forward. A new epoch begins at 0: its readings are counted from 1.
    """

    __slots__ = ("_epochs",)

    def __init__(self, epochs: Mapping[int, int] | None = None) -> None:
        self._epochs = dict(epochs or {})

    @property
    def newest(self) -> tuple[int, int] | None:
        """(epoch, seq) to ask the agent `after`; None if nothing was ever accepted."""
        if not self._epochs:
            return None
        epoch = next(reversed(self._epochs))
        return epoch, self._epochs[epoch]

    def seq(self, epoch: int) -> int:
        """Return the highest accepted number of `epoch`, 0 if it is new."""
        return self._epochs.get(epoch, 0)

    def accept(self, epoch: int, first_seq: int, last_seq: int) -> Step:
        """Move over first_seq..last_seq of `epoch` and say what was skipped and what is known already."""
        cursor = self._epochs.get(epoch, 0)
        if last_seq <= cursor:
            return Step(None, last_seq - first_seq + 1)
        if not self._epochs or next(reversed(self._epochs)) != epoch:
            self._make_newest(epoch)
        self._epochs[epoch] = last_seq
        skipped = (cursor + 1, first_seq - 1) if first_seq > cursor + 1 else None
        return Step(skipped, max(0, cursor - first_seq + 1))

    def _make_newest(self, epoch: int) -> None:
        self._epochs.pop(epoch, None)
        while len(self._epochs) >= KEPT_EPOCHS:
            del self._epochs[next(iter(self._epochs))]
