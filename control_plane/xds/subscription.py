"""What one client wants of one resource type, what it was sent, what it said to that. Pure.

Rules: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
The SotW and the Delta variant differ in how interest is told, in what a
response must repeat and in how many may be in flight; what is wanted, sent,
accepted and refused is the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from control_plane.resources.model import Resource
from control_plane.xds.containment import ABSENT, Containment, version_of
from control_plane.xds.fingerprint import Fingerprint
from control_plane.xds.heartbeat import Heartbeats
from control_plane.xds.interest import WILDCARD, Interest
from control_plane.xds.past import Past
from control_plane.xds.rejection import Rejection, names_refused
from control_plane.xds.type_rules import rules_of

Variant = Literal["delta", "sotw"]
UNSTATED: Final = "?"  # no version: the client may run something of that name
MAX_IN_FLIGHT: Final = 16  # Delta responses without an answer; beyond it, changes wait and coalesce


@dataclass(frozen=True, slots=True)
class Batch:
    """What one response says.

    Attributes:
        put: Resources; in SotW's full state all that the client should run.
        removed: Names that are not there (any more); in SotW never said.
        changed: Names put that the client is not known to run in this version.
        beats: Names put only so that their time to live begins anew.
        version: The fingerprint of what the client then has (SotW).
    """

    put: tuple[Resource, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...] = ()
    beats: frozenset[str] = frozenset()
    version: str = ""


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
    told: Mapping[str, Resource | None]
    at_unix_ns: int
    version: str
    revision: int = 0


class Subscription:
    """One type on one stream.

    Attributes:
        type_url: The type.
        variant: How the client speaks.
        interest: What it wants.
        sent: By name, the newest version sent on this stream, or stated by the
            client when the stream began; ABSENT if it was told that there is none.
        acked: By name, the version that the client is known to run.
        since: By name, the Unix ns when it came into its present state.
        news: Names whose sent, acked or rejected changed; whoever reads them clears it.
        acked_revision: The highest revision of which the client runs everything.
    """

    def __init__(self, type_url: str, variant: Variant = "delta", *, ttl: bool = False) -> None:
        self.type_url = type_url
        self.variant: Variant = variant
        self.interest = Interest()
        self.sent: dict[str, str] = {}
        self.acked: dict[str, str] = {}
        self.since: dict[str, int] = {}
        self.news: set[str] = set()
        self.acked_revision = 0
        self._rules = rules_of(type_url)
        self._sotw = variant == "sotw"
        self._full = self._sotw and self._rules.full_state
        self._beats = Heartbeats() if ttl else None
        self._bad = Containment()
        self._resources: Mapping[str, Resource] | None = None  # None: held, nothing was published
        self._due: set[str] = set()  # names to send
        self._forced: set[str] = set()  # those of them that are current
        self._unwanted: set[str] = set()  # resources that the interest does not cover
        self._owes_answer = False  # a first request waits for a response, if an empty one
        self._stated: str | None = None  # SotW: what the client said to have, not looked into yet
        self._unknown = False  # SotW: whether the client has something that we do not know
        self._blocked = False  # whether it refused all without a name, and keeps what that is
        self._past = Past()
        self._version = ""  # SotW: of the last response that was accepted
        self._fingerprint = Fingerprint()
        self._in_flight: deque[_Sent] = deque()

    @property
    def rejected(self) -> Mapping[str, Rejection]:
        """By name, what the client refused. It is not sent again until it changes."""
        return self._bad.rejected

    @property
    def busy(self) -> bool:
        """Whether something is to be sent, or was sent and not answered."""
        return bool(self._due or self._in_flight)

    @property
    def waits_since(self) -> int | None:
        """Since when (Unix ns) the oldest response has had no answer; None if all have."""
        return self._in_flight[0].at_unix_ns if self._in_flight else None

    @property
    def next_beat(self) -> int | None:
        """When (Unix ns) a time to live must be renewed; None if none must, or none can be now."""
        return None if self._beats is None or self._full_up else self._beats.next

    @property
    def _full_up(self) -> bool:
        return len(self._in_flight) >= (1 if self._sotw else MAX_IN_FLIGHT)

    def in_flight(self) -> set[str]:
        """Return the names that responses without an answer put."""
        return {name for sent in self._in_flight for name, each in sent.told.items() if each is not None}

    # --- interest ---------------------------------------------------------------------------
    def begin(
        self,
        names: Collection[str],
        *,
        has: Mapping[str, str] | None = None,
        stated: str = "",
        past: Past | None = None,
        quarantine: bool = True,
        now: int,
    ) -> None:
        """Take the first request of the stream.

        Args:
            names: What is wanted.
            has: Versions that the client states to run (Delta).
            stated: The version_info that it states (SotW); it is looked into once there are resources.
            past: What streams of the node before knew of the type.
            quarantine: Whether what was refused then stays so. Not for a client
                that states nothing at all: it was restarted, and may have healed.
            now: Unix ns.
        """
        self.interest.begin(names, legacy_wildcard=self._rules.legacy_wildcard)
        self._past = past or self._past
        if quarantine:
            for name in self._past.rejected:
                if self.wants(name):
                    self._bad.inherit(self._past, name)
        if self._sotw and stated:
            self._stated, self._version = stated, stated
        else:
            self._believe(has or {}, now)
            self._owes_answer = self._full or (not self._sotw and self.interest.wildcard and not has)

    def replace(self, names: Collection[str]) -> bool:
        """Take the whole interest, as SotW clients repeat it; return whether it changed."""
        before = self.interest.wildcard
        came, went = self.interest.replace(names)
        if WILDCARD in came or WILDCARD in went:
            self._review()
        for name in went - {WILDCARD}:
            self._lose(name)
        for name in came - {WILDCARD}:
            self._unwanted.discard(name)
            if not before:
                self._check(name)
        return bool(came or went)

    def subscribe(self, names: Collection[str]) -> None:
        """Add interest (Delta). What is asked for again is sent again, even if it is current."""
        if WILDCARD in names:
            again = self.interest.wildcard
            self.interest.add((WILDCARD,))
            self._review()
            self.resend(tuple(self.sent) if again else ())
        self.interest.add(names)
        for name in names:
            if name == WILDCARD:
                continue
            self._unwanted.discard(name)
            if name in self.sent:
                self._forced.add(name)
            self._check(name)

    def unsubscribe(self, names: Collection[str]) -> None:
        """Drop interest (Delta), and with it what is known of the names."""
        if not names:
            return
        named = self.interest.names.intersection(names)
        self.interest.drop(names)
        if WILDCARD in names:
            self._review()
        for name in named:
            self._lose(name)
        if self.interest.wildcard:  # the client cannot know whether the wildcard still covers it, and is told
            self.resend(named)

    def wants(self, name: str) -> bool:
        """Whether the client's interest covers `name`."""
        return self.interest.covers(name)

    def resend(self, names: Iterable[str]) -> None:
        """Send `names` with the next response, even if they are current."""
        for name in names:
            if self.wants(name):
                self._forced.add(name)
                self._check(name)

    # --- the snapshot -----------------------------------------------------------------------
    def update(self, resources: Mapping[str, Resource], changed: Collection[str], now: int) -> None:
        """Have the client run `resources`, of which `changed` may differ from those before."""
        old, self._resources = self._resources, resources
        if old is None:
            if self._stated is not None:
                self._resolve(self._stated, now)
            self._review()
            return
        if self._blocked and changed:
            self._blocked, self._owes_answer = False, True
            self._bad.rejected.clear()
            self._review()
        for name in changed:
            before, after = old.get(name), resources.get(name)
            if before is not None and self.acked.get(name) == before.version != version_of(after):
                self._bad.kept[name] = before
            if not self.wants(name):
                (self._unwanted.discard if after is None else self._unwanted.add)(name)
            elif self._beats is not None and before and after and before.ttl_s != after.ttl_s:
                self._forced.add(name)
            self._check(name)

    def complete(self, revision: int) -> None:
        """Note that nothing more is to be sent of `revision`, if that is so.

        It is acknowledged when all in flight is, at once if nothing is.
        """
        if self._resources is None or self._due or self._bad.rejected or self._unwanted:
            return
        if self._in_flight:
            self._in_flight[-1].revision = revision
        else:
            self.acked_revision = max(self.acked_revision, revision)

    # --- out --------------------------------------------------------------------------------
    def take(self, nonce: str, *, removals: bool, max_bytes: int, now: int) -> Batch | None:
        """Return what to send now under `nonce`, noted as sent; None if there is nothing.

        Args:
            nonce: Names the response; new for each.
            removals: Whether what the client has may be removed now.
            max_bytes: The bodies of a batch are about this many bytes at most,
                unless it must be the full state.
            now: Unix ns.
        """
        if self._resources is None or self._full_up:
            return None
        if self._beats is not None:
            self.resend(self._beats.due(now))
        told = self._chosen(removals, max_bytes)
        if not told and (self._due or not self._owes_answer):
            return None
        changed = tuple(
            name for name, each in told.items() if each is not None and self.acked.get(name) != each.version
        )
        self._note_sent(nonce, told, now)
        put = (
            [each for name in sorted(self.sent) if (each := self._held(name)) is not None]
            if self._full
            else [each for each in told.values() if each is not None]
        )
        removed = () if self._sotw else tuple(name for name, each in told.items() if each is None)
        beats = frozenset() if self._beats is None else self._beats.sent(told, changed, now)
        return Batch(tuple(put), removed, changed, beats, self._in_flight[-1].version)

    # --- in ---------------------------------------------------------------------------------
    def settle(self, nonce: str, error: str | None, now: int) -> Settled | None:
        """Take the client's answer to `nonce`; None if the nonce is not in flight (stale: ignored)."""
        sent = next((sent for sent in self._in_flight if sent.nonce == nonce), None)
        if sent is None:
            return None
        first = self._in_flight[0] is sent
        self._in_flight.remove(sent)
        if error is None:
            self._unknown = False
            for name, resource in sent.told.items():
                self._accept(name, resource, now, partial=False)
            self._version = sent.version
            if first and not self._bad.rejected:
                self.acked_revision = max(self.acked_revision, sent.revision)
            return Settled(self.type_url, nonce)
        for later in self._in_flight:  # what follows in flight no longer completes its revision
            later.revision = 0
        return Settled(self.type_url, nonce, self._refused(sent, error, now), error)

    # --- judgments --------------------------------------------------------------------------
    def runs(self, name: str, version: str | None) -> bool:
        """Whether the client is known to run this version of a resource; None: known to run none of it."""
        if version is not None:
            return self.acked.get(name) == version
        told = self.sent.get(name, ABSENT) == ABSENT and name not in self._bad.rejected
        return told and name not in self.acked and all(name not in sent.told for sent in self._in_flight)

    def past(self, older: Past | None) -> Past:
        """Return what is to be remembered of the type, now that the stream is over."""
        if self._stated is not None:  # it was held to the end: nothing was learnt
            return older or Past()
        statements: dict[str, Mapping[str, str]] = {self._version: self.acked} if self._version else {}
        for sent in self._in_flight if self._sotw else ():
            told = {name: each.version for name, each in sent.told.items() if each is not None}
            gone = {name for name, each in sent.told.items() if each is None}
            kept = {name: version for name, version in self.acked.items() if name not in gone}
            statements[sent.version] = {**kept, **told}
        bad = self._bad
        past = Past(
            self.unsettled(),
            frozenset(self.in_flight()),
            dict(bad.rejected),
            dict(bad.kept),
            self.acked,
            self.since,
            statements,
        )
        return past.after(older, self.wants)

    def unsettled(self) -> dict[str, str]:
        """Return what the client may run without stating it: by name, the version that it should state.

        ABSENT where even its stating that version proves nothing.

        Envoy applies the good part of a response that it refuses, and states
        none of it when it connects anew; a worker may be applying still.
        """
        bad = self._bad
        names = {name for sent in self._in_flight for name in sent.told}
        names.update(name for name, version in self.sent.items() if version == UNSTATED)
        names.update(bad.rejected, bad.partial, bad.suspects)
        return {name: ABSENT if self._in_doubt(name) else self._to_state(name) for name in names}

    def _in_doubt(self, name: str) -> bool:
        """Whether the client may run another version than that sent last, and yet state that one.

        So it is when a version in between came in a response that it refused for
        others: it runs it, and states the one before, which may be sent again by now.
        """
        newest = self.sent.get(name, ABSENT)
        between = (name in sent.told and version_of(sent.told[name]) != newest for sent in self._in_flight)
        bad = self._bad
        return name in bad.partial or name in bad.suspects or name in bad.restore or any(between)

    def _to_state(self, name: str) -> str:
        refused = name in self._bad.rejected and self._rules.affirm  # a worker may yet apply what it refused
        return (self.acked if refused else self.sent).get(name, ABSENT)

    # --- inside -----------------------------------------------------------------------------
    def _resolve(self, stated: str, now: int) -> None:
        """Find out what a SotW client has that states this version."""
        self._stated = None
        has = self._past.statements.get(stated)
        if has is None:
            resources = self._resources or {}
            wanted = resources.keys() if self.interest.wildcard else self.interest.names
            targets = {name: self._bad.target(name, resources.get(name)) for name in wanted}
            should = {name: each.version for name, each in targets.items() if each is not None}
            has = should if str(Fingerprint.of(should)) == stated else None
        if has is None:
            self._unknown, self._version, self._owes_answer = True, "", self._full
        self._believe(has or {}, now)

    def _believe(self, has: Mapping[str, str], now: int) -> None:
        """Take what the client states to have for true, but for what it may run without stating it."""
        for name, version in self._past.unsettled.items():
            if self.wants(name) and (version == ABSENT or has.get(name) != version):
                self.sent[name] = UNSTATED
        for name, version in has.items():
            if self.wants(name) and name not in self.sent:
                self.sent[name] = self.acked[name] = version
                self.since[name] = self._past.since_of(name, version) or now
                self._bad.believe(name, version)
                self._print(name, version)

    def _review(self) -> None:
        """Look at every name anew: the wildcard came or went, or there are resources at last."""
        resources = self._resources
        for name in {*self.sent, *self.acked, *self._bad.rejected, *self._due}:
            if not self.wants(name):
                self._forget(name)
        if resources is None:
            return
        self._unwanted = {name for name in resources if not self.wants(name)}
        for name in {*self.interest.names, *self.sent, *resources}:
            self._check(name)

    def _check(self, name: str) -> None:
        """Find out whether the client must be told of a name."""
        if self._resources is None:
            return
        if self._is_due(name, self._resources.get(name)):
            self._due.add(name)
        else:
            self._due.discard(name)
            self._forced.discard(name)
            self._bad.settle(name)

    def _is_due(self, name: str, newest: Resource | None) -> bool:
        if not self.wants(name):
            return False
        if self._bad.holds(name, newest):
            return name in self._bad.restore  # contained, even if it is asked for again
        if newest is None and self._sotw and not self._full:
            return False  # absence is not deletion, and cannot be said
        if name in self._forced:
            return True
        if name in self.sent:
            return self.sent[name] != version_of(newest)
        return newest is not None or name in self.interest.names

    def _chosen(self, removals: bool, max_bytes: int) -> dict[str, Resource | None]:
        """Return what is due and may be said now: one suspect, if there are any, else all of it."""
        resources = self._resources or {}
        trial = min(self._bad.suspects & self._due, default=None)
        told: dict[str, Resource | None] = {}
        size = 0
        for name in sorted(self._due) if trial is None else (trial,):
            resource = self._bad.target(name, resources.get(name))
            if resource is None and not removals and self.sent.get(name, ABSENT) != ABSENT:
                continue  # make before break
            told[name] = resource
            size += 0 if resource is None else len(resource.body)
            if size >= max_bytes and not self._full:
                break
        return told

    def _held(self, name: str) -> Resource | None:
        """Return the resource that the client has of a name, as far as it was told (SotW)."""
        version = self.sent.get(name, ABSENT)
        newest = (self._resources or {}).get(name)
        for resource in (newest, self._bad.kept.get(name)):
            if resource is not None and resource.version == version:
                return resource
        return None

    def _note_sent(self, nonce: str, told: Mapping[str, Resource | None], now: int) -> None:
        resources = self._resources or {}
        for name, resource in told.items():
            version = version_of(resource)
            self._due.discard(name)
            self._forced.discard(name)
            self._bad.tell(name, resources.get(name))
            self._set_sent(name, version)
            self.news.add(name)
            if version != self.acked.get(name, ABSENT):
                self.since[name] = now
        self._owes_answer = False
        self._in_flight.append(_Sent(nonce, told, now, str(self._fingerprint) if self._sotw else ""))

    def _accept(self, name: str, resource: Resource | None, now: int, *, partial: bool) -> None:
        if not self.wants(name):
            return
        self._unknown = False
        version = version_of(resource)
        before = self.acked.get(name, ABSENT), name in self._bad.rejected
        self._bad.accept(name, resource, (self._resources or {}).get(name), partial=partial)
        if version == ABSENT:
            self.acked.pop(name, None)
        else:
            self.acked[name] = version
        self.news.add(name)
        if before != (version, name in self._bad.rejected):
            self.since[name] = now
        if version == ABSENT and name not in self.sent:
            self.since.pop(name, None)
        if partial and self._rules.affirm and self.sent.get(name, ABSENT) == version:
            self._forced.add(name)
        self._check(name)

    def _refused(self, sent: _Sent, error: str, now: int) -> tuple[str, ...]:
        """Take a refusal; return what it surely means.

        Envoy refuses a response as a whole, the good with the bad, when one
        resource fails its validation, and does not say which: then each goes
        once more, on its own. Not so if that would take from the client what it
        may run unknown to us: then it keeps all it has until something changes.
        """
        named = names_refused(error, sent.told)
        refused = named or tuple(sent.told)
        if not named and self._full and self._unknown:
            self._blocked = True
        elif not named and len(refused) > 1:
            for name in refused:
                self._suspect(name)
            return refused
        mixture = not named or (self._sotw and len(sent.told) > len(named))
        for name, resource in sent.told.items():
            if name in refused:
                self._refuse(name, Rejection(version_of(resource), error), now, mixture=mixture)
            else:
                self._accept(name, resource, now, partial=True)
        return refused

    def _suspect(self, name: str) -> None:
        if self.wants(name):
            self._bad.suspects.add(name)
            self._forced.add(name)
            self._revert(name)
            self._check(name)

    def _refuse(self, name: str, rejection: Rejection, now: int, *, mixture: bool) -> None:
        if name in self._bad.suspects or self.sent.get(name, ABSENT) != rejection.version:
            return  # not known yet, or a newer one is on its way
        if self.wants(name):
            newest = (self._resources or {}).get(name)
            self._bad.refuse(name, rejection, newest, mixture=mixture)
            self._revert(name)
            self.since[name] = now
            self.news.add(name)
            self._check(name)

    def _revert(self, name: str) -> None:
        """Have a name, in SotW, at what the client had before the response that it refused."""
        if self._sotw:
            self._set_sent(name, self.acked.get(name, ABSENT))

    def _set_sent(self, name: str, version: str) -> None:
        if version == ABSENT and name not in self.interest.names:
            self.sent.pop(name, None)
        else:
            self.sent[name] = version
        self._print(name, version)

    def _print(self, name: str, version: str) -> None:
        if self._sotw:
            self._fingerprint.put(name, version)

    def _lose(self, name: str) -> None:
        """Take note that a name is not asked for any more."""
        if self.wants(name):
            return
        self._forget(name)
        if self._resources is not None and name in self._resources:
            self._unwanted.add(name)

    def _forget(self, name: str) -> None:
        for known in (self.sent, self.acked, self.since):
            known.pop(name, None)
        self._bad.forget(name)
        self._due.discard(name)
        self._forced.discard(name)
        self._print(name, ABSENT)
        if self._beats is not None:
            self._beats.forget(name)
        self.news.add(name)
