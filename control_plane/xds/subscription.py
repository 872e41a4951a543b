"""What one client wants of one resource type, what it was sent, what it said to that. Pure.

Rules: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
The SotW and the Delta variant differ in how interest is told and in what a
response must repeat; what is wanted, sent, accepted and refused is the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from control_plane.resources.model import Resource
from control_plane.xds.rejection import names_refused

WILDCARD: Final = "*"
ABSENT: Final = ""  # the version of what does not exist
UNSTATED: Final = "?"  # no version: the client may run something of that name
MAX_IN_FLIGHT: Final = 16  # responses without an answer; beyond it, changes wait and coalesce


@dataclass(frozen=True, slots=True)
class Rejection:
    """A version that the client refused; ABSENT if it refused the removal. `error` is its own text."""

    version: str
    error: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What one response says: resources to put, names that are not there (any more)."""

    put: tuple[Resource, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """A response that the client answered. `refused` names what it did not take, by its `error`."""

    type_url: str
    nonce: str
    refused: tuple[str, ...] = ()
    error: str | None = None


@dataclass(slots=True)
class _Sent:
    """A response without an answer. After it the client has all of `revision` (0: of none)."""

    nonce: str
    versions: dict[str, str]
    revision: int = 0


@dataclass(slots=True)
class Subscription:
    """One type on one stream.

    Attributes:
        type_url: The type.
        wildcard: Whether the client wants whatever there is.
        names: What it wants by name.
        sent: By name, the newest version sent on this stream, or stated by the
            client when the stream began; ABSENT if it was told that there is none.
        acked: By name, the version that the client is known to run.
        rejected: By name, what it refused. It is not sent again until it changes.
        acked_revision: The highest revision of which the client runs everything.
    """

    type_url: str
    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    sent: dict[str, str] = field(default_factory=dict)
    acked: dict[str, str] = field(default_factory=dict)
    rejected: dict[str, Rejection] = field(default_factory=dict)
    acked_revision: int = 0
    _asked: bool = False
    _dirty: set[str] = field(default_factory=set)  # names to compare with the snapshot
    _forced: set[str] = field(default_factory=set)  # those to send even if they are current
    _partial: set[str] = field(default_factory=set)  # taken from a response that was refused for others
    _alone: set[str] = field(default_factory=set)  # to be sent in a response of its own
    _owes_answer: bool = False  # a first request waits for a response, if an empty one
    _in_flight: deque[_Sent] = field(default_factory=deque)

    @property
    def busy(self) -> bool:
        """Whether something is to be sent, or was sent and not answered."""
        return bool(self._dirty or self._in_flight)

    def begin(
        self,
        subscribe: Collection[str],
        has: Mapping[str, str],
        *,
        legacy_wildcard: bool,
        unsettled: Mapping[str, str] | None = None,
    ) -> None:
        """Take the first request of the stream.

        Args:
            subscribe: What is wanted.
            has: What the client states to run.
            legacy_wildcard: Whether naming nothing means everything.
            unsettled: That of the same node's stream before. Such a name counts as
                unknown unless the client states the very version that it was sent last.
        """
        self._asked = True
        self.wildcard = WILDCARD in subscribe or (legacy_wildcard and not subscribe)
        self.names = set(subscribe) - {WILDCARD}
        unknown = {
            name: UNSTATED
            for name, version in (unsettled or {}).items()
            if self.wants(name) and (version == ABSENT or has.get(name) != version)
        }
        self.acked = {
            name: version for name, version in has.items() if self.wants(name) and name not in unknown
        }
        self.sent = self.acked | unknown
        self._owes_answer = self.wildcard and not has
        self._dirty |= self.names | self.sent.keys()

    def subscribe(self, names: Collection[str]) -> None:
        """Add interest. What is asked for again is sent again, even if it is current."""
        self.wildcard = self.wildcard or WILDCARD in names
        for name in names:
            if name == WILDCARD:
                continue
            self.names.add(name)
            self._dirty.add(name)
            if name in self.sent:
                self._forced.add(name)

    def unsubscribe(self, names: Collection[str]) -> None:
        """Drop interest, and with it what is known of the names."""
        if not names:
            return
        if WILDCARD in names:
            self.wildcard = False
        for name in names:
            if name not in self.names:
                continue
            self.names.discard(name)
            if self.wildcard:  # the client cannot know whether the wildcard still covers it, and is told
                self._dirty.add(name)
                self._forced.add(name)
        for name in [name for name in self._known() if not self.wants(name)]:
            self._forget(name)

    def wants(self, name: str) -> bool:
        """Whether the client's interest covers `name`."""
        return self.wildcard or name in self.names

    def mark(self, names: Iterable[str]) -> None:
        """Compare `names` with the snapshot when next asked what to send."""
        self._dirty.update(name for name in names if self.wants(name))

    def resend(self, names: Iterable[str]) -> None:
        """Send `names` with the next response, even if they are current."""
        for name in names:
            if self.wants(name):
                self._dirty.add(name)
                self._forced.add(name)

    def unsettled(self) -> dict[str, str]:
        """Return what the client may run without stating it: by name, the version sent last.

        ABSENT where even its stating that version proves nothing.

        Envoy applies the good part of a response that it refuses, and states
        none of it when it connects anew; a worker may be applying still.
        """
        names = {name for sent in self._in_flight for name in sent.versions}
        names.update(name for name, version in self.sent.items() if version == UNSTATED)
        names.update(self.rejected, self._partial, self._alone)
        return {name: ABSENT if self._in_doubt(name) else self.sent.get(name, ABSENT) for name in names}

    def _in_doubt(self, name: str) -> bool:
        """Whether the client may run another version than that sent last, and yet state that one.

        So it is when a version in between came in a response that it refused for
        others: it runs it, and states the one before, which may be sent again by now.
        """
        newest = self.sent.get(name, ABSENT)
        between = (sent.versions.get(name, newest) != newest for sent in self._in_flight)
        return name in self._partial or name in self._alone or any(between)

    def runs(self, name: str, version: str | None) -> bool:
        """Whether the client is known to run this version of a resource; None: known to run none of it."""
        if version is not None:
            return self.acked.get(name) == version
        told = self.sent.get(name, ABSENT) == ABSENT and name not in self.rejected
        return told and name not in self.acked and all(name not in sent.versions for sent in self._in_flight)

    def prune(self, resources: Mapping[str, Resource]) -> None:
        """Forget to compare what turns out to be current, so that `busy` is exact."""
        for name in [name for name in self._dirty if not self._due(name, resources.get(name))]:
            self._settle_name(name)

    def take(
        self, resources: Mapping[str, Resource], nonce: str, *, removals: bool, max_bytes: int
    ) -> Batch | None:
        """Return what to send now under `nonce`, noted as sent; None if there is nothing.

        Args:
            resources: The type's resources in the node's snapshot.
            nonce: Names the response; new for each.
            removals: Whether what the client has may be removed now.
            max_bytes: The bodies of a batch are about this many bytes at most.
        """
        self.prune(resources)
        if len(self._in_flight) >= MAX_IN_FLIGHT or not (self._dirty or self._owes_answer):
            return None
        put: list[Resource] = []
        removed: list[str] = []
        size = 0
        alone = min(self._alone & self._dirty, default=None)
        for name in sorted(self._dirty) if alone is None else (alone,):
            resource = resources.get(name)
            if resource is not None:
                put.append(resource)
                size += len(resource.body)
            elif removals or self.sent.get(name, ABSENT) == ABSENT:
                removed.append(name)
            if size >= max_bytes:
                break
        if not (put or removed or (self._owes_answer and not self._dirty)):
            return None
        self._note_sent(nonce, put, removed)
        return Batch(tuple(put), tuple(removed))

    def settle(self, nonce: str, error: str | None) -> Settled | None:
        """Take the client's answer to `nonce`; None if the nonce is not in flight (stale: ignored)."""
        sent = next((sent for sent in self._in_flight if sent.nonce == nonce), None)
        if sent is None:
            return None
        refused = () if error is None else names_refused(error, sent.versions)
        if error is not None and not refused:
            refused = self._isolate(sent)
        for name, version in sent.versions.items():
            if error is not None and name in refused:
                self._refuse(name, version, error)
            elif self.wants(name):
                self._accept(name, version, partial=error is not None)
        first = self._in_flight[0] is sent
        self._in_flight.remove(sent)
        if error is not None:  # what follows in flight no longer completes its revision
            for later in self._in_flight:
                later.revision = 0
        elif first and not self.rejected:
            self.acked_revision = max(self.acked_revision, sent.revision)
        return Settled(self.type_url, nonce, refused, error)

    def complete(self, resources: Mapping[str, Resource], revision: int) -> None:
        """Note that nothing more is to be sent of `revision`, if that is so.

        It is acknowledged when all in flight is, at once if nothing is.
        """
        covered = self._asked and (self.wildcard or self.names >= resources.keys())
        if self._dirty or self.rejected or not covered:
            return
        if self._in_flight:
            self._in_flight[-1].revision = revision
        else:
            self.acked_revision = max(self.acked_revision, revision)

    def _due(self, name: str, resource: Resource | None) -> bool:
        """Whether the client must be told of the name as it now is."""
        version = ABSENT if resource is None else resource.version
        rejection = self.rejected.get(name)
        if rejection is not None and rejection.version == version:
            return False  # contained, even if it is asked for again
        if name in self._forced:
            return True
        if name in self.sent:
            return self.sent[name] != version
        return resource is not None or name in self.names

    def _settle_name(self, name: str) -> None:
        self._dirty.discard(name)
        self._forced.discard(name)
        self._alone.discard(name)

    def _note_sent(self, nonce: str, put: list[Resource], removed: list[str]) -> None:
        versions = {resource.name: resource.version for resource in put}
        versions.update(dict.fromkeys(removed, ABSENT))
        for name, version in versions.items():
            self._settle_name(name)
            self.rejected.pop(name, None)  # a rejected version never comes here, so this is another one
            if version == ABSENT and name not in self.names:
                self.sent.pop(name, None)
            else:
                self.sent[name] = version
        self._owes_answer = False
        self._in_flight.append(_Sent(nonce, versions))

    def _accept(self, name: str, version: str, *, partial: bool) -> None:
        rejection = self.rejected.get(name)
        if rejection is not None and rejection.version == version:
            del self.rejected[name]  # it was sent more than once, and taken in the end
        if partial:
            self._partial.add(name)
        else:
            self._partial.discard(name)
        if version == ABSENT:
            self.acked.pop(name, None)
        else:
            self.acked[name] = version

    def _isolate(self, sent: _Sent) -> tuple[str, ...]:
        """Find out what a refusal means that names nothing; return what it surely means.

        Envoy refuses a response as a whole, the good with the bad, when one
        resource fails its validation. So each goes once more, on its own.
        """
        names = tuple(sent.versions)
        if len(names) > 1:
            self.resend(names)
            self._alone.update(name for name in names if self.wants(name))
        return names

    def _refuse(self, name: str, version: str, error: str) -> None:
        if name in self._alone:
            return  # not known yet
        if self.wants(name) and self.sent.get(name, ABSENT) == version:  # else a newer one is on its way
            self.rejected[name] = Rejection(version, error)

    def _known(self) -> set[str]:
        return {*self.sent, *self.acked, *self.rejected, *self._dirty}

    def _forget(self, name: str) -> None:
        self.sent.pop(name, None)
        self.acked.pop(name, None)
        self.rejected.pop(name, None)
        self._partial.discard(name)
        self._settle_name(name)
