"""What one client wants of one resource type, what it was sent, what it said to that. Pure.

Rules: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
The SotW and the Delta variant differ in how interest is told, in what a
response must repeat and in how many may be in flight; what is wanted, sent,
accepted and refused is the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from control_plane.resources.model import Resource
from control_plane.xds.agenda import Agenda
from control_plane.xds.answers import Answers
from control_plane.xds.containment import ABSENT, Containment, version_of
from control_plane.xds.flight import MAX_IN_FLIGHT, Flight, Sent, outdate
from control_plane.xds.heartbeat import Heartbeats
from control_plane.xds.interest import WILDCARD, Interest
from control_plane.xds.ledger import Ledger
from control_plane.xds.messages import Batch, Settled, Variant
from control_plane.xds.past import Past
from control_plane.xds.recall import believe, remember, what_it_has
from control_plane.xds.rejection import Rejection, shortened
from control_plane.xds.type_rules import rules_of


class Subscription:
    """One type on one stream.

    Attributes:
        type_url: The type.
        interest: What it wants.
        ledger: What it has.
        flight: What it has not answered.
        acked_revision: The highest revision of which it runs everything.
    """

    def __init__(self, type_url: str, variant: Variant = "delta", *, ttl: bool = False) -> None:
        """`ttl`: whether the client understands times to live."""
        self.type_url = type_url
        self.interest = Interest()
        self.ledger = Ledger(prints=variant == "sotw")
        self.flight = Flight(1 if variant == "sotw" else MAX_IN_FLIGHT)
        self.acked_revision = 0
        self._ttl = ttl
        self._rules = rules_of(type_url)
        self._sotw = variant == "sotw"
        self._full = self._sotw and self._rules.full_state
        self._beats = Heartbeats(understood=ttl)
        self._bad = Containment()
        removes = not self._sotw or self._full  # else absence is not deletion, and cannot be said
        mine = self.interest, self.ledger, self._bad
        self._agenda = Agenda(*mine, full=self._full, removes=removes)
        self._answers = Answers(*mine, self._agenda, reverts=self._sotw, affirms=self._rules.affirm)
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
        return bool(self._agenda.due or self.flight)

    @property
    def next_beat(self) -> int | None:
        """When (Unix ns) a time to live must be renewed; None if none must, or none can be now."""
        return None if self.flight.full else self._beats.next

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
            believe(self.ledger, self._bad, self._past, has=has, wants=self.wants, now=now)
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
                self._agenda.check(name)
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
                self._agenda.check(name, force=name in self.ledger.sent)

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
            self._agenda.check(name, force=True)

    def lend(self, name: str, resource: Resource) -> None:
        """Send a resource although it is gone: the client waits for it."""
        self._agenda.lend(name, resource)

    def may_lack(self, name: str) -> bool:
        """Whether something of a name is still to be sent, or was not asked for yet."""
        return name in self._agenda.due or not self.wants(name)

    def renew(self, names: Iterable[str]) -> None:
        """Do as `resend`; in place of what was refused, send what was accepted last."""
        for name in names:
            self._bad.go_back(name)
        self.resend(names)

    # --- the snapshot -----------------------------------------------------------------------
    def update(self, resources: Mapping[str, Resource], changed: Collection[str], now: int) -> None:
        """Have the client run `resources`, of which `changed` may differ from those before."""
        old, self._agenda.resources = self._agenda.resources, resources
        if old is None:
            if self._unresolved:
                self._resolve(resources, now)
            self._review()
            self._beats.resume(map(self._agenda.held, self.ledger.acked), now)
            return
        for name in changed:
            before, after = old.get(name), resources.get(name)
            if before is not None and self.ledger.acked.get(name) == before.version != version_of(after):
                self._bad.kept[name] = before
            if not self.wants(name):
                (self._unwanted.discard if after is None else self._unwanted.add)(name)
                self._bad.shelved.pop(name, None)
            lives = self._ttl and before and after and before.ttl_s != after.ttl_s
            self._agenda.check(name, force=bool(lives))

    def complete(self, revision: int) -> None:
        """Note that nothing more is to be sent of `revision`, if that is so.

        It is acknowledged when all in flight is, at once if nothing is.
        """
        if self._agenda.resources is None or self._agenda.due or self._bad.rejected or self._unwanted:
            return
        if self.flight.newest is not None:
            self.flight.newest.revision = revision
        else:
            self.acked_revision = max(self.acked_revision, revision)

    # --- out --------------------------------------------------------------------------------
    def take(self, nonce: str, *, removals: bool, max_bytes: int, now: int) -> Batch | None:
        """Return what to send now under `nonce`, noted as sent; None if there is nothing.

        See Agenda.chosen for `removals` and `max_bytes`; `now` is in Unix ns.
        """
        if self._agenda.resources is None or self.flight.full:
            return None
        self.renew(self._beats.due(now))
        told = self._agenda.chosen(removals, max_bytes)
        if not told and (self._agenda.due or not self._owes_answer):
            return None
        changed = self._agenda.changed(told)
        self._note_sent(nonce, told, now)
        put = map(self._agenda.held, sorted(self.ledger.sent)) if self._full else told.values()
        removed = () if self._sotw else tuple(name for name, each in told.items() if each is None)
        beats = self._beats.sent(told, changed, now)
        resources = tuple(each for each in put if each is not None)
        return Batch(resources, removed, tuple(changed), beats, self.ledger.version)

    # --- in ---------------------------------------------------------------------------------
    def settle(self, nonce: str, error: str | None, now: int) -> Settled | None:
        """Take the client's answer to `nonce`; None if the nonce is not in flight (stale: ignored)."""
        answered = self.flight.answered(nonce)
        if answered is None:
            return None
        sent, earlier = answered
        if error is not None:
            for later in self.flight:  # what follows in flight no longer completes its revision
                later.revision = 0
            refused = self._answers.refuse(sent, error, now)
            outdate(earlier, sent.told.keys() - set(refused))
            self._unknown = self._unknown and len(refused) == len(sent.told)
            self._owes_answer = self._full and self._unknown  # what it has unknown to us may still be there
            return Settled(self.type_url, nonce, refused, shortened(error))
        self._answers.accept(sent, now)
        outdate(earlier, sent.told.keys())
        self._unknown, self._accepted = False, sent.version
        if not earlier and not self._bad.rejected and not self._unwanted:
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
        past = remember(self.ledger, self.flight, self._bad, accepted, late=not self._rules.affirm)
        return past.after(older, self.wants)

    # --- inside -----------------------------------------------------------------------------
    def _resolve(self, resources: Mapping[str, Resource], now: int) -> None:
        """Find out what a SotW client has that states a version."""
        self._unresolved = False
        wanted = resources.keys() if self.interest.wildcard else self.interest.names
        has = what_it_has(self._accepted, self._past, self._bad, wanted, resources)
        if has is None:
            self._unknown, self._accepted, self._owes_answer = True, "", self._full
        believe(self.ledger, self._bad, self._past, has=has or {}, wants=self.wants, now=now)

    def _review(self) -> None:
        """Look at every name anew: the wildcard came or went, or there are resources at last."""
        for name in {*self.ledger.sent, *self.ledger.acked, *self._bad.rejected, *self._agenda.due}:
            if not self.wants(name):
                self._forget(name)
        resources = self._agenda.resources or {}
        self._unwanted = {name for name in resources if not self.wants(name)}
        for name in {*self.interest.names, *self.ledger.sent, *resources}:
            self._agenda.check(name)

    def _note_sent(self, nonce: str, told: Mapping[str, Resource | None], now: int) -> None:
        for name, resource in told.items():
            self._agenda.drop(name)
            self._bad.tell(name, self._agenda.newest(name))
            self.ledger.tell(name, version_of(resource), now, named=name in self.interest.names)
        self._owes_answer = False
        self.flight.add(Sent(nonce, told, now, self.ledger.version))

    def _lose(self, name: str) -> None:
        """Take note that a name is not asked for any more."""
        if not self.wants(name):
            self._forget(name)
            if self._agenda.newest(name) is not None:
                self._unwanted.add(name)

    def _forget(self, name: str) -> None:
        self.ledger.forget(name)
        self._bad.forget(name)
        self._agenda.drop(name)
        self._beats.forget(name)
