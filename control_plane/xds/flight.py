"""Responses of one type that the client has not answered. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from control_plane.resources.model import Resource

MAX_IN_FLIGHT: Final = 16  # Delta responses without an answer; beyond it, changes wait and coalesce


@dataclass(slots=True)
class Sent:
    """A response.

    Attributes:
        nonce: Its name.
        told: What it says of each name; None: that it is not there.
        at_unix_ns: When it was sent.
        version: Its version_info (SotW).
        revision: The revision of which the client has everything after it; 0: of none.
    """

    nonce: str
    told: Mapping[str, Resource | None]
    at_unix_ns: int
    version: str
    revision: int = 0


class Flight:
    """Responses in the order in which they were sent; `window` is how many there may be."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._sent: deque[Sent] = deque()

    def __bool__(self) -> bool:
        return bool(self._sent)

    def __iter__(self) -> Iterator[Sent]:
        return iter(self._sent)

    @property
    def full(self) -> bool:
        """Whether nothing more may be sent before something is answered."""
        return len(self._sent) >= self._window

    @property
    def since(self) -> int | None:
        """Since when (Unix ns) the oldest has had no answer; None if all have."""
        return self._sent[0].at_unix_ns if self._sent else None

    @property
    def newest(self) -> Sent | None:
        """The last response; None if all are answered."""
        return self._sent[-1] if self._sent else None

    def add(self, sent: Sent) -> None:
        """Note a response."""
        self._sent.append(sent)

    def answered(self, nonce: str) -> tuple[Sent, list[Sent]] | None:
        """Drop a response; return it and those before it. None if it is not here: a stale nonce."""
        for position, sent in enumerate(self._sent):
            if sent.nonce == nonce:
                del self._sent[position]
                return sent, [self._sent[each] for each in range(position)]
        return None

    def names(self) -> set[str]:
        """Return every name that something is said of."""
        return {name for sent in self._sent for name in sent.told}

    def puts(self) -> set[str]:
        """Return every name that a resource is put for."""
        return {name for sent in self._sent for name, each in sent.told.items() if each is not None}

    def says(self, name: str) -> list[Resource | None]:
        """Return what is said of a name, in order."""
        return [sent.told[name] for sent in self._sent if name in sent.told]


def outdate(earlier: Iterable[Sent], names: Collection[str]) -> None:
    """Note that the client took newer ones of `names`: late answers to `earlier` do not count for them."""
    for sent in earlier:
        sent.told = {name: each for name, each in sent.told.items() if name not in names}
