"""What a client is to be told of one type: what it should have, less what it has. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from control_plane.resources.model import Resource
from control_plane.xds.containment import ABSENT, Containment, version_of
from control_plane.xds.interest import Interest
from control_plane.xds.ledger import Ledger


class Agenda:
    """Names that are due, found out name by name as something changes.

    Attributes:
        resources: What the client should run; None: held, nothing was published.
        due: Names to tell something of.
    """

    def __init__(
        self, interest: Interest, ledger: Ledger, bad: Containment, *, full: bool, removes: bool
    ) -> None:
        """Begin with nothing.

        Args:
            interest: What is wanted.
            ledger: What the client has.
            bad: What it refused.
            full: Whether each response is the full state.
            removes: Whether it can be said that something is gone.
        """
        self.resources: Mapping[str, Resource] | None = None
        self.due: set[str] = set()
        self._forced: set[str] = set()  # those of them that are current
        self._lent: dict[str, Resource] = {}  # to be told although they are gone
        self._interest = interest
        self._ledger = ledger
        self._bad = bad
        self._full = full
        self._removes = removes

    def newest(self, name: str) -> Resource | None:
        """Return a resource as it now is."""
        return None if self.resources is None else self.resources.get(name)

    def held(self, name: str) -> Resource | None:
        """Return the resource that the client has of a name, as far as it was told, if we do."""
        version = self._ledger.sent.get(name, ABSENT)
        known = (self.newest(name), self._bad.kept.get(name))
        return next((each for each in known if each is not None and each.version == version), None)

    def lend(self, name: str, resource: Resource) -> None:
        """Have the client told of a resource that is gone, because it waits for it."""
        self._lent[name] = resource
        self.check(name)

    def check(self, name: str, *, force: bool = False) -> None:
        """Find out whether the client must be told of a name; `force`: even if it is current."""
        wanted = self._interest.covers(name)
        if force and wanted:
            self._forced.add(name)
        if self.resources is None:
            return
        newest = self.newest(name)
        if wanted and self._bad.shelved:
            self._bad.want(name, newest)
        if wanted and self._is_due(name, newest):
            self.due.add(name)
        else:
            self.drop(name)
            self._bad.settle(name, newest)

    def drop(self, name: str) -> None:
        """Note that nothing is to be told of a name."""
        self.due.discard(name)
        self._forced.discard(name)
        self._lent.pop(name, None)

    def chosen(self, removals: bool, max_bytes: int) -> dict[str, Resource | None]:
        """Return what is due and may be said now: one suspect, if there are any, else all of it.

        Args:
            removals: Whether what the client has may be removed now.
            max_bytes: It is about this many bytes at most, unless they must be the full state.
        """
        trial = min(self._bad.suspects & self.due, default=None)
        told: dict[str, Resource | None] = {}
        later: list[str] = []
        size = 0
        for name in sorted(self.due) if trial is None else (trial,):
            resource = self._bad.target(name, self.newest(name)) or self._lent.get(name)
            if resource is None and not removals and self._ledger.sent.get(name, ABSENT) != ABSENT:
                later.append(name)  # make before break
                continue
            told[name] = resource
            size += len(name) if resource is None else len(resource.body)
            if size >= max_bytes and not self._full:
                break
        if self._full and told and trial is None:  # what we do not have cannot be repeated until then
            told.update((name, None) for name in later if self.held(name) is None)
        return told

    def changed(self, told: Mapping[str, Resource | None]) -> list[str]:
        """Return which names a response puts that the client may run in another version.

        After a refusal that it did not explain, also those that go back.
        """
        acked, unsure = self._ledger.acked, self._bad.unsure
        put = ((name, each.version) for name, each in told.items() if each is not None)
        changed = [name for name, version in put if name in unsure or acked.get(name) != version]
        if self._full:
            changed += [name for name in unsure - told.keys() if self.held(name) is not None]
            unsure.clear()
        unsure.difference_update(told)
        return changed

    def _is_due(self, name: str, newest: Resource | None) -> bool:
        if self._bad.holds(name, newest):
            return name in self._bad.restore  # contained, even if it is asked for again
        if newest is None and not self._removes:
            return name in self._lent
        if name in self._forced:
            return True
        if name in self._ledger.sent:
            return self._ledger.sent[name] != version_of(newest)
        return newest is not None or name in self._interest.names
