"""What one client wants of one resource type, what it was sent, what it said to that. Pure.

Rules: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
The SotW and the Delta variant differ in how interest is told, in what a
response must repeat and in how many may be in flight; what is wanted, sent,
accepted and refused is the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from control_plane.resources.model import Resource
from control_plane.xds.containment import ABSENT, Containment, version_of
from control_plane.xds.flight import MAX_IN_FLIGHT, Flight, Sent
from control_plane.xds.heartbeat import Heartbeats
from control_plane.xds.interest import WILDCARD, Interest
from control_plane.xds.ledger import Ledger
from control_plane.xds.past import Past
from control_plane.xds.recall import believe, remember, what_it_has
from control_plane.xds.rejection import Rejection, names_refused
from control_plane.xds.type_rules import rules_of

Variant = Literal["delta", "sotw"]


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


class Subscription:
    """One type on one stream.

    Attributes:
        type_url: The type.
        variant: How the client speaks.
        interest: What it wants.
        ledger: What it has.
        flight: What it has not answered.
        acked_revision: The highest revision of which it runs everything.
    """

    def __init__(self, type_url: str, variant: Variant = "delta", *, ttl: bool = False) -> None:
        """`ttl`: whether the client understands times to live."""
        self.type_url = type_url
        self.variant: Variant = variant
        self.interest = Interest()
        self.ledger = Ledger(prints=variant == "sotw")
        self.flight = Flight(1 if variant == "sotw" else MAX_IN_FLIGHT)
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
        self._accepted = ""  # SotW: the version_info of the last response that was accepted
        self._unresolved = False  # SotW: the client stated that, and it was not looked into yet
        self._unknown = False  # SotW: it was looked into in vain: the client has what we do not know
        self._past = Past()

    @property
    def rejected(self) -> Mapping[str, Rejection]:
        """By name, what the client refused. It is not sent again until it changes."""
        return self._bad.rejected

    @property
    def busy(self) -> bool:
        """Whether something is to be sent, or was sent and not answered."""
        return bool(self._due or self.flight)

    @property
    def next_beat(self) -> int | None:
        """When (Unix ns) a time to live must be renewed; None if none must, or none can be now."""
        return None if self._beats is None or self.flight.full else self._beats.next

    # --- interest ---------------------------------------------------------------------------
    def begin(
        self,
        names: Collection[str],
        *,
        has: Mapping[str, str],
        version: str,
        past: Past | None,
        quarantine: bool,
        now: int,
    ) -> None:
        """Take the first request of the stream.

        Args:
            names: What is wanted.
            has: Versions that the client states to run (Delta).
            version: The version_info that it states (SotW); it is looked into once there are resources.
            past: What the node's streams before left of the type.
            quarantine: Whether what was refused then stays so.
            now: Unix ns.
        """
        self.interest.begin(names, legacy_wildcard=self._rules.legacy_wildcard)
        self._past = past or self._past
        if quarantine:
            self._bad.inherit(self._past, self.wants)
        if version or has:
            self._bad.keep(self._past, self.wants)
        if version:
            self._accepted, self._unresolved = version, True
        else:
            self._believe(has, now)
            self._owes_answer = self._full or (not self._sotw and self.interest.wildcard and not has)

    def replace(self, names: Collection[str]) -> bool:
        """Take the whole interest, as SotW clients repeat it; return whether it changed."""
        covered = self.interest.wildcard
        came, went = self.interest.replace(names)
        if WILDCARD in came or WILDCARD in went:
            self._review()
        for name in went - {WILDCARD}:
            self._lose(name)
        for name in came - {WILDCARD}:
            self._unwanted.discard(name)
            if not covered:
                self._check(name)
        return bool(came or went)

    def subscribe(self, names: Collection[str]) -> None:
        """Add interest (Delta). What is asked for again is sent again, even if it is current."""
        again = self.interest.wildcard
        self.interest.add(names)
        if WILDCARD in names:
            self._review()
            self.resend(tuple(self.ledger.sent) if again else ())
        for name in names:
            if name != WILDCARD:
                self._unwanted.discard(name)
                self._check(name, force=name in self.ledger.sent)

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
            self._check(name, force=True)

    def renew(self, names: Iterable[str]) -> None:
        """Do as `resend`; in place of what was refused, send what was accepted last."""
        for name in names:
            self._bad.go_back(name)
        self.resend(names)

    # --- the snapshot -----------------------------------------------------------------------
    def update(self, resources: Mapping[str, Resource], changed: Collection[str], now: int) -> None:
        """Have the client run `resources`, of which `changed` may differ from those before."""
        old, self._resources = self._resources, resources
        if old is None:
            if self._unresolved:
                self._resolve(resources, now)
            self._review()
            return
        for name in changed:
            before, after = old.get(name), resources.get(name)
            if before is not None and self.ledger.acked.get(name) == before.version != version_of(after):
                self._bad.kept[name] = before
            if not self.wants(name):
                (self._unwanted.discard if after is None else self._unwanted.add)(name)
                self._bad.shelved.pop(name, None)
            lives = self._beats is not None and before and after and before.ttl_s != after.ttl_s
            self._check(name, force=bool(lives))

    def complete(self, revision: int) -> None:
        """Note that nothing more is to be sent of `revision`, if that is so.

        It is acknowledged when all in flight is, at once if nothing is.
        """
        if self._resources is None or self._due or self._bad.rejected or self._unwanted:
            return
        if self.flight.newest is not None:
            self.flight.newest.revision = revision
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
        if self._resources is None or self.flight.full:
            return None
        if self._beats is not None:
            self.resend(self._beats.due(now))
        told = self._chosen(removals, max_bytes)
        if not told and (self._due or not self._owes_answer):
            return None
        changed = self._changed(told)
        self._note_sent(nonce, told, now)
        put = map(self._held, sorted(self.ledger.sent)) if self._full else told.values()
        removed = () if self._sotw else tuple(name for name, each in told.items() if each is None)
        beats = frozenset[str]() if self._beats is None else self._beats.sent(told, changed, now)
        resources = tuple(each for each in put if each is not None)
        return Batch(resources, removed, tuple(changed), beats, self.ledger.version)

    # --- in ---------------------------------------------------------------------------------
    def settle(self, nonce: str, error: str | None, now: int) -> Settled | None:
        """Take the client's answer to `nonce`; None if the nonce is not in flight (stale: ignored)."""
        answered = self.flight.answered(nonce)
        if answered is None:
            return None
        sent, oldest = answered
        if error is not None:
            for later in self.flight:  # what follows in flight no longer completes its revision
                later.revision = 0
            return Settled(self.type_url, nonce, self._refused(sent, error, now), error)
        self._unknown = False
        for name, resource in sent.told.items():
            self._accept(name, resource, now, partial=False)
        self._accepted = sent.version
        if oldest and not self._bad.rejected and not self._unwanted:
            self.acked_revision = max(self.acked_revision, sent.revision)
        return Settled(self.type_url, nonce)

    # --- judgments --------------------------------------------------------------------------
    def runs(self, name: str, version: str | None) -> bool:
        """Whether the client is known to run this version of a resource; None: known to run none of it."""
        ledger = self.ledger
        if version is not None:
            return ledger.acked.get(name) == version
        if self._unresolved or self._unknown or (self._sotw and not self._full and self.wants(name)):
            return False  # it may have what it was never told to drop
        refused = name in self._bad.rejected or name in self._bad.suspects
        told = ledger.sent.get(name, ABSENT) == ABSENT and not refused
        return told and name not in ledger.acked and not self.flight.says(name)

    def past(self, older: Past | None) -> Past:
        """Return what is to be remembered of the type, now that the stream is over."""
        if self._unresolved:  # it was held to the end: nothing was learnt
            return older or Past()
        accepted = self._accepted if self._sotw else None
        late = not self._rules.affirm
        past = remember(self.ledger, self.flight, self._bad, accepted, late=late)
        return past.after(older, self.wants)

    # --- inside -----------------------------------------------------------------------------
    def _believe(self, has: Mapping[str, str], now: int) -> None:
        believe(self.ledger, self._bad, self._past, has=has, wants=self.wants, now=now)

    def _resolve(self, resources: Mapping[str, Resource], now: int) -> None:
        """Find out what a SotW client has that states a version."""
        self._unresolved = False
        wanted = resources.keys() if self.interest.wildcard else self.interest.names
        has = what_it_has(self._accepted, self._past, self._bad, wanted, resources)
        if has is None:
            self._unknown, self._accepted, self._owes_answer = True, "", self._full
        self._believe(has or {}, now)

    def _review(self) -> None:
        """Look at every name anew: the wildcard came or went, or there are resources at last."""
        for name in {*self.ledger.sent, *self.ledger.acked, *self._bad.rejected, *self._due}:
            if not self.wants(name):
                self._forget(name)
        resources = self._resources or {}
        self._unwanted = {name for name in resources if not self.wants(name)}
        for name in {*self.interest.names, *self.ledger.sent, *resources}:
            self._check(name)

    def _newest(self, name: str) -> Resource | None:
        return None if self._resources is None else self._resources.get(name)

    def _check(self, name: str, *, force: bool = False) -> None:
        """Find out whether the client must be told of a name; `force`: even if it is current."""
        if force and self.wants(name):
            self._forced.add(name)
        if self._resources is None:
            return
        newest, wanted = self._newest(name), self.wants(name)
        if wanted and self._bad.shelved:
            self._bad.want(name, newest)
        if wanted and self._is_due(name, newest):
            self._due.add(name)
        else:
            self._due.discard(name)
            self._forced.discard(name)
            self._bad.settle(name, newest)

    def _is_due(self, name: str, newest: Resource | None) -> bool:
        if self._bad.holds(name, newest):
            return name in self._bad.restore  # contained, even if it is asked for again
        if newest is None and self._sotw and not self._full:
            return False  # absence is not deletion, and cannot be said
        if name in self._forced:
            return True
        if name in self.ledger.sent:
            return self.ledger.sent[name] != version_of(newest)
        return newest is not None or name in self.interest.names

    def _chosen(self, removals: bool, max_bytes: int) -> dict[str, Resource | None]:
        """Return what is due and may be said now: one suspect, if there are any, else all of it."""
        trial = min(self._bad.suspects & self._due, default=None)
        told: dict[str, Resource | None] = {}
        later: list[str] = []
        size = 0
        for name in sorted(self._due) if trial is None else (trial,):
            resource = self._bad.target(name, self._newest(name))
            if resource is None and not removals and self.ledger.sent.get(name, ABSENT) != ABSENT:
                later.append(name)  # make before break
                continue
            told[name] = resource
            size += 0 if resource is None else len(resource.body)
            if size >= max_bytes and not self._full:
                break
        if self._full and told and trial is None:  # what we do not have cannot be repeated until then
            told.update((name, None) for name in later if self._held(name) is None)
        return told

    def _changed(self, told: Mapping[str, Resource | None]) -> list[str]:
        """Return which names are put that the client may run in another version.

        After a refusal that it did not explain, also those that go back.
        """
        acked, unsure = self.ledger.acked, self._bad.unsure
        put = ((name, each.version) for name, each in told.items() if each is not None)
        changed = [name for name, version in put if name in unsure or acked.get(name) != version]
        if self._full:
            changed += [name for name in unsure - told.keys() if self._held(name) is not None]
            unsure.clear()
        unsure.difference_update(told)
        return changed

    def _held(self, name: str) -> Resource | None:
        """Return the resource that the client has of a name, as far as it was told (SotW)."""
        version = self.ledger.sent.get(name, ABSENT)
        known = (self._newest(name), self._bad.kept.get(name))
        return next((each for each in known if each is not None and each.version == version), None)

    def _note_sent(self, nonce: str, told: Mapping[str, Resource | None], now: int) -> None:
        for name, resource in told.items():
            self._due.discard(name)
            self._forced.discard(name)
            self._bad.tell(name, self._newest(name))
            self.ledger.tell(name, version_of(resource), now, named=name in self.interest.names)
        self._owes_answer = False
        self.flight.add(Sent(nonce, told, now, self.ledger.version))

    def _accept(self, name: str, resource: Resource | None, now: int, *, partial: bool) -> None:
        if not self.wants(name):
            return
        version = version_of(resource)
        lifted = self._bad.accept(name, resource, self._newest(name), partial=partial)
        self.ledger.accept(name, version, now, lifted=lifted)
        affirm = partial and self._rules.affirm and self.ledger.sent.get(name, ABSENT) == version
        self._check(name, force=affirm)

    def _refused(self, sent: Sent, error: str, now: int) -> tuple[str, ...]:
        """Take a refusal; return what it surely means.

        Envoy refuses a response as a whole, the good with the bad, when one
        resource fails its validation, and does not say which: then each goes
        once more, on its own beside what was accepted before. (A SotW client of
        which we do not know what it runs loses the rest for that long.)
        """
        self._owes_answer = self._full and self._unknown  # what it has unknown to us may still be there
        named = names_refused(error, sent.told)
        refused = named or tuple(sent.told)
        if not named and len(refused) > 1:
            for name in refused:
                self._suspect(name)
            return refused
        mixture = not named or (self._sotw and len(sent.told) > len(named))
        for name, resource in sent.told.items():
            if name in refused:
                self._refuse(name, Rejection(version_of(resource), error), now, mixture=mixture)
            else:
                self._unknown = False
                self._accept(name, resource, now, partial=True)
        return refused

    def _suspect(self, name: str) -> None:
        if self.wants(name):
            self._bad.suspect(name)
            self._revert(name)
            self._check(name, force=True)

    def _refuse(self, name: str, rejection: Rejection, now: int, *, mixture: bool) -> None:
        if name in self._bad.suspects or self.ledger.sent.get(name, ABSENT) != rejection.version:
            return  # not known yet, or a newer one is on its way
        if self.wants(name):
            self._bad.refuse(name, rejection, self._newest(name), mixture=mixture)
            self._revert(name)
            self.ledger.refuse(name, now)
            self._check(name)

    def _revert(self, name: str) -> None:
        """Have a name, in SotW, at what the client had before the response that it refused."""
        if self._sotw:
            self.ledger.revert(name, named=name in self.interest.names)

    def _lose(self, name: str) -> None:
        """Take note that a name is not asked for any more."""
        if self.wants(name):
            return
        self._forget(name)
        if self._newest(name) is not None:
            self._unwanted.add(name)

    def _forget(self, name: str) -> None:
        self.ledger.forget(name)
        self._bad.forget(name)
        self._due.discard(name)
        self._forced.discard(name)
        if self._beats is not None:
            self._beats.forget(name)
