"""A bucket's content in memory, fed by a watch and by our own writes. Pure.

Invariants:
  M1  Of one key, what has the higher revision wins, whichever way it comes.
  M2  A load is the bucket's truth as of some revision: keys that are not in it
      are gone, unless we wrote them since the load began.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Entry:
    """A value and the revision that it came with; a value of None: deleted."""

    value: bytes | None
    revision: int


class Mirror:
    """Keys with their newest values.

    Attributes:
        loaded: Whether the bucket was ever read whole.
    """

    def __init__(self) -> None:
        self.loaded = False
        self._entries: dict[str, Entry] = {}
        self._loading: dict[str, Entry] | None = None
        self._written: dict[str, Entry] = {}  # by us, since the load began
        self._heard = 0  # the watch has said everything up to this revision

    def get(self, key: str) -> Entry | None:
        """Return a key's entry, None if it is not there."""
        entry = self._entries.get(key)
        return None if entry is None or entry.value is None else entry

    def items(self) -> Mapping[str, Entry]:
        """Return every key that is there; a copy."""
        return MappingProxyType({key: each for key, each in self._entries.items() if each.value is not None})

    def begin_load(self) -> None:
        """A watch begins: what it says first is the whole bucket."""
        self._loading = {}
        self._written = {}

    def end_load(self) -> set[str]:
        """The watch has said the whole bucket; return the keys whose value changed."""
        before, written = self._entries, self._written
        self._entries = self._loading or {}
        self._loading, self._written = None, {}
        self._heard = max((entry.revision for entry in self._entries.values()), default=0)
        for key, entry in written.items():
            self._take_ours(key, entry)
        # What was deleted before the load can be forgotten; of our own deletions the watch will speak yet.
        self._entries = {
            key: entry
            for key, entry in self._entries.items()
            if entry.value is not None or written.get(key) is entry
        }
        self.loaded = True
        return {
            key for key in before.keys() | self._entries.keys() if before.get(key) != self._entries.get(key)
        }

    def heard(self, key: str, value: bytes | None, revision: int) -> set[str]:
        """Take what the watch says (None: deleted); return the keys whose value changed."""
        entry = Entry(value, revision)
        if self._loading is not None:
            self._loading[key] = entry
            return set()
        self._heard = max(self._heard, revision)
        changed = self._take(key, entry)
        if value is None and self._entries[key].value is None:
            del self._entries[key]  # nothing older can come any more
        return changed

    def wrote(self, key: str, value: bytes | None, revision: int) -> set[str]:
        """Take our own write, acknowledged with `revision`; return the keys whose value changed.

        The revision of a deletion may be a lower bound of its own, above that of what was deleted.
        """
        entry = Entry(value, revision)
        if self._loading is not None:
            self._written[key] = entry
        return self._take_ours(key, entry)

    def _take_ours(self, key: str, entry: Entry) -> set[str]:
        quicker = key not in self._entries if entry.value is None else entry.revision <= self._heard
        return set() if quicker else self._take(key, entry)  # what the watch said is newer, or the same

    def _take(self, key: str, entry: Entry) -> set[str]:
        known = self._entries.get(key)
        if known is not None and known.revision >= entry.revision:
            return set()
        self._entries[key] = entry
        return {key}
