"""What a client refused of one type, and what it still runs of it. Pure.

A refused version is not sent again until the resource changes. Envoy applies
the good part of what it refuses, so after a refusal it may run a mixture: the
good part is affirmed, and the last accepted version is restored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from control_plane.resources.model import Resource
from control_plane.xds.past import Past
from control_plane.xds.rejection import Rejection

ABSENT: Final = ""  # the version of what does not exist


def version_of(resource: Resource | None) -> str:
    """Return the version of a resource; ABSENT for none."""
    return ABSENT if resource is None else resource.version


@dataclass(slots=True)
class Containment:
    """The quarantine of one type on one stream.

    Attributes:
        rejected: By name, what was refused.
        suspects: Of refusals that named nothing: each is to be tried in a response of its own.
        partial: Taken from a response that was refused for others.
        restore: Whose last accepted version is to be sent again.
        unsure: Of which the client may run what it refused, until it is sent something else.
        kept: By name, the accepted resource where it is not the newest one.
        shelved: Refused, of names that are not wanted now: it is known when they are wanted again.
    """

    rejected: dict[str, Rejection] = field(default_factory=dict)
    suspects: set[str] = field(default_factory=set)
    partial: set[str] = field(default_factory=set)
    restore: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    kept: dict[str, Resource] = field(default_factory=dict)
    shelved: dict[str, Rejection] = field(default_factory=dict)

    def inherit(self, past: Past, wants: Callable[[str], bool]) -> None:
        """Go on with what was refused on streams before."""
        for name, rejection in past.rejected.items():
            (self.rejected if wants(name) else self.shelved)[name] = rejection

    def keep(self, past: Past, wants: Callable[[str], bool]) -> None:
        """Go on with what was accepted on streams before and has changed since."""
        self.kept.update((name, resource) for name, resource in past.kept.items() if wants(name))

    def want(self, name: str, newest: Resource | None) -> None:
        """Note that a name is wanted: what was refused of it before stays so, unless it has changed."""
        rejection = self.shelved.pop(name, None)
        if rejection is not None and rejection.version == version_of(newest):
            self.rejected.setdefault(name, rejection)

    def believe(self, name: str, version: str) -> None:
        """Note that the client states to run a version, if it refused that one: it was late."""
        if name in self.rejected and self.rejected[name].version == version:
            del self.rejected[name]

    def holds(self, name: str, newest: Resource | None) -> bool:
        """Whether the newest state of a name was refused."""
        rejection = self.rejected.get(name)
        return rejection is not None and rejection.version == version_of(newest)

    def target(self, name: str, newest: Resource | None) -> Resource | None:
        """Return what the client should run: the newest resource, or the last good one."""
        return self.kept.get(name) if self.holds(name, newest) else newest

    def tell(self, name: str, newest: Resource | None) -> None:
        """Note that the client is told what it should run of a name."""
        self.suspects.discard(name)
        self.restore.discard(name)
        if not self.holds(name, newest):
            self.rejected.pop(name, None)

    def accept(self, name: str, resource: Resource | None, newest: Resource | None, *, partial: bool) -> bool:
        """Note that the client took `resource`; return whether it had refused it before.

        `partial`: it refused others of the response.
        """
        rejection = self.rejected.get(name)
        lifted = rejection is not None and rejection.version == version_of(resource)
        if lifted:  # it was sent more than once, and taken in the end
            del self.rejected[name]
        if partial:
            self.partial.add(name)
        else:
            self.partial.discard(name)
        if resource is None or version_of(resource) == version_of(newest):
            self.kept.pop(name, None)
        else:
            self.kept[name] = resource
        return lifted

    def refuse(self, name: str, rejection: Rejection, newest: Resource | None, *, mixture: bool) -> None:
        """Note a refusal; `mixture` if the client may run something else than before it."""
        if self.holds(name, newest) and rejection.version != version_of(newest):
            self.kept.pop(name, None)  # that was what it should go back to: there is nothing else
            return
        self.rejected[name] = rejection
        if name in self.kept and self.kept[name].version == rejection.version:
            del self.kept[name]  # it was thought to run what it refuses
        if mixture and name in self.kept:
            self.restore.add(name)
            self.unsure.add(name)

    def go_back(self, name: str) -> None:
        """Have the last accepted version sent again, if there is one and a newer one was refused."""
        if name in self.rejected and name in self.kept:
            self.restore.add(name)

    def suspect(self, name: str) -> None:
        """Note that a name was in a refusal that named nothing."""
        self.suspects.add(name)
        self.unsure.add(name)

    def forget(self, name: str) -> None:
        """Drop what is known of a name that is not wanted any more, but not which version was refused."""
        rejection = self.rejected.pop(name, None)
        if rejection is not None and rejection.version != ABSENT:  # of names that never were there is no end
            self.shelved[name] = rejection
        self.kept.pop(name, None)
        self.settle(name, None)
        self.partial.discard(name)
        self.unsure.discard(name)

    def settle(self, name: str, newest: Resource | None) -> None:
        """Note that nothing is to be sent of a name; if what it refused is past, that is forgotten."""
        self.tell(name, newest)
