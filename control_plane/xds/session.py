"""One client's stream: requests in, responses out, over all its types. Pure.

Order, for what is put: as in `TYPE_ORDER`, without waiting for answers (Envoy
withholds its answer to a cluster until the cluster's endpoints came). What is
removed goes only when no later type has anything under way: make before break.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from control_plane.resources.model import Resource, Snapshot
from control_plane.xds.messages import (
    ProtocolError,
    Request,
    Response,
    Settled,
    Variant,
    check_bounds,
    check_count,
)
from control_plane.xds.past import Past
from control_plane.xds.rejection import Rejection
from control_plane.xds.subscription import Subscription
from control_plane.xds.type_rules import rank, rules_of
from control_plane.xds.warming import Warming, answer_due_since
from wire.names import CLUSTER_TYPE, ENDPOINT_TYPE

__all__ = ["MAX_RESPONSE_BYTES", "MAX_TYPES", "ProtocolError", "Request", "Response", "Session", "TypeStatus"]

MAX_TYPES: Final = 32
MAX_RESPONSE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """Where a client stands with one type. All mappings are by resource name, read-only and live.

    Attributes:
        sent: The newest version sent (or that the client stated to have).
        acked: The version that it is known to run.
        rejected: What it refused, with its own error text.
        acked_revision: The highest revision of which it runs everything; 0 if of none.
        since: Unix ns when each resource came into its present state.
        variant: How the client speaks.
    """

    sent: Mapping[str, str]
    acked: Mapping[str, str]
    rejected: Mapping[str, Rejection]
    acked_revision: int
    since: Mapping[str, int] = field(default_factory=dict)
    variant: Variant = "delta"


class Session:
    """The state of one stream. Nothing is sent before the first `update`: no empty configuration.

    What was refused is not sent again until it changes, neither on the stream
    nor on the next one, unless the client then states to run nothing at all.
    """

    def __init__(
        self,
        past: Mapping[str, Past] | None = None,
        variant: Variant = "delta",
        *,
        ttl: bool = False,
        aggregated: bool = True,
    ) -> None:
        """Begin a stream.

        Args:
            past: What the same node's streams before left, by type.
            variant: How the client speaks.
            ttl: Whether it understands times to live.
            aggregated: Whether the stream may be about any type.
        """
        self.variant: Variant = variant
        self._past: Mapping[str, Past] = {} if past is None else past
        self._ttl = ttl
        self._aggregated = aggregated
        self._subscriptions: dict[str, Subscription] = {}
        self._in_order: list[Subscription] = []
        self._snapshot: Snapshot | None = None
        self._revision = 0
        self._nonces = 0
        self._last_nonce: dict[str, str] = {}  # by type
        self._states = False  # whether the client has stated to run anything
        self._warming = Warming()

    def update(self, snapshot: Snapshot, revision: int, now: int) -> None:
        """Have the client run `snapshot` from `now` (Unix ns) on."""
        old, begins = self._snapshot, self._snapshot is None
        changed = snapshot.changed_since(old)
        if old is not None and self.variant == "sotw":
            self._note_leaving(old.of(ENDPOINT_TYPE), snapshot, changed.get(ENDPOINT_TYPE, ()))
        self._snapshot, self._revision = snapshot, revision
        for type_url, subscription in self._subscriptions.items():
            if begins or type_url in changed:
                subscription.update(snapshot.of(type_url), changed.get(type_url, ()), now)
        self._warming.feed(self._subscriptions.get(ENDPOINT_TYPE))
        self._complete()

    def receive(self, request: Request, now: int) -> Settled | None:
        """Take a request; return the response that it settles, if it does.

        What is asked for counts even when the nonce is stale. Raises ProtocolError.
        """
        check_bounds(request)
        subscription = self._subscriptions.get(request.type_url)
        repeated = False
        if subscription is None:
            subscription = self._begin(request, now)
        elif self.variant == "sotw":
            repeated = not subscription.replace(request.subscribe)
        else:
            subscription.unsubscribe(request.unsubscribe)
            subscription.subscribe(request.subscribe)
        check_count(len(subscription.interest.names))
        if request.type_url == ENDPOINT_TYPE:
            self._warming.feed(subscription)
        idle = not subscription.flight
        settled = subscription.settle(request.nonce, request.error, now) if request.nonce else None
        if repeated and idle and request.error is None:
            self._repeat(subscription, request.nonce)
        self._complete()
        return settled

    def responses(self, now: int) -> list[Response]:
        """Return what to send `now` (Unix ns), in order, noted as sent.

        Ask again after each update and request, and at `next_beat`.
        """
        if self._snapshot is None:
            return []
        out: list[Response] = []
        for position, subscription in enumerate(self._in_order):
            removals = not any(later.busy for later in self._in_order[position + 1 :])
            self._send(subscription, removals, now, out)
        self._complete()
        return out

    @property
    def next_beat(self) -> int | None:
        """When (Unix ns) a time to live is to be renewed; None if none is."""
        beats = (each.next_beat for each in self._subscriptions.values())
        return min((at for at in beats if at is not None), default=None)

    def waits(self) -> list[tuple[str, int]]:
        """Return the types that wait for an answer, and since when (Unix ns)."""
        waits = {type_url: each.flight.since for type_url, each in self._subscriptions.items()}
        if waits.get(CLUSTER_TYPE) is not None:
            endpoints = self._subscriptions.get(ENDPOINT_TYPE)
            waits[CLUSTER_TYPE] = answer_due_since(self._subscriptions[CLUSTER_TYPE], endpoints)
        return [(type_url, since) for type_url, since in waits.items() if since is not None]

    def acked_revisions(self) -> dict[str, int]:
        """Return, by type, the highest revision of which the client runs everything; 0 if of none."""
        return {type_url: each.acked_revision for type_url, each in self._subscriptions.items()}

    def acked_revision(self, type_url: str) -> int:
        """Return the highest revision of which the client runs everything of a type; 0 if of none."""
        subscription = self._subscriptions.get(type_url)
        return 0 if subscription is None else subscription.acked_revision

    def runs(self, type_url: str, name: str, version: str | None) -> bool:
        """Whether the client is known to run this version of a resource; None: known to run none of it."""
        subscription = self._subscriptions.get(type_url)
        return subscription is not None and subscription.runs(name, version)

    def asked(self, type_url: str) -> bool:
        """Whether the client has asked for a type."""
        return type_url in self._subscriptions

    def past(self) -> dict[str, Past]:
        """Return, by type, what the next stream must know, now that this one is over.

        That is nothing for types of which the client cannot have been sent anything.
        """
        served = () if self._snapshot is None else self._snapshot.resources
        mine = {
            url: each.past(self._past.get(url)) for url, each in self._subscriptions.items() if url in served
        }
        return {**self._past, **mine}

    def status(self) -> dict[str, TypeStatus]:
        """Return where the client stands with each type that it asked for."""
        return {
            type_url: TypeStatus(
                MappingProxyType(each.ledger.sent),
                MappingProxyType(each.ledger.acked),
                MappingProxyType(each.rejected),
                each.acked_revision,
                MappingProxyType(each.ledger.since),
                self.variant,
            )
            for type_url, each in self._subscriptions.items()
        }

    @property
    def edits(self) -> int:
        """How often anything changed of what was sent, acked or rejected."""
        return sum(each.ledger.edits for each in self._subscriptions.values())

    def take_news(self) -> dict[str, set[str]]:
        """Return, by type, the names whose sent, acked or rejected changed since the last call."""
        news = {url: each.ledger.news for url, each in self._subscriptions.items() if each.ledger.news}
        for type_url in news:
            self._subscriptions[type_url].ledger.news = set()
        return news

    def _begin(self, request: Request, now: int) -> Subscription:
        type_url = request.type_url
        if not type_url:
            raise ProtocolError("type_url is empty: it must name the resource type")
        if len(self._subscriptions) >= MAX_TYPES:
            raise ProtocolError(f"type_url {type_url}: more than {MAX_TYPES} types on one stream")
        self._states = self._states or request.states
        past = self._past.get(type_url)
        subscription = Subscription(type_url, self.variant, ttl=self._ttl)
        subscription.begin(
            request.subscribe,
            has=request.has,
            version=request.version,
            past=past,
            quarantine=self._states,
            now=now,
        )
        if type_url == ENDPOINT_TYPE and request.states:
            first = self._aggregated and not self.asked(CLUSTER_TYPE)
            self._warming.resume(self._past.get(CLUSTER_TYPE), request.subscribe, first=first)
        if self._snapshot is not None:
            subscription.update(self._snapshot.of(type_url), (), now)
        self._subscriptions[type_url] = subscription
        self._in_order = sorted(self._subscriptions.values(), key=lambda each: rank(each.type_url))
        return subscription

    def _send(self, subscription: Subscription, removals: bool, now: int, out: list[Response]) -> None:
        type_url = subscription.type_url
        while True:
            nonce = str(self._nonces + 1)
            batch = subscription.take(nonce, removals=removals, max_bytes=MAX_RESPONSE_BYTES, now=now)
            if batch is None:
                return
            self._nonces += 1
            self._last_nonce[type_url] = nonce
            out.append(
                Response(
                    type_url, nonce, batch.put, batch.removed, self._revision, batch.version, batch.beats
                )
            )
            if type_url == CLUSTER_TYPE:
                self._warming.put(batch)
                self._warming.feed(self._subscriptions.get(ENDPOINT_TYPE))

    def _complete(self) -> None:
        """Note of which types nothing more is to be sent."""
        if self._snapshot is not None:
            for subscription in self._subscriptions.values():
                subscription.complete(self._revision)

    def _note_leaving(self, old: Mapping[str, Resource], new: Snapshot, changed: Collection[str]) -> None:
        clusters, endpoints = (self._subscriptions.get(each) for each in (CLUSTER_TYPE, ENDPOINT_TYPE))
        if clusters is not None and changed:
            gone = {name: old[name] for name in changed if name in old}
            self._warming.leave(gone, new.of(ENDPOINT_TYPE), clusters, endpoints)

    def _repeat(self, subscription: Subscription, nonce: str) -> None:
        """Take a SotW request that says nothing new, after all was answered: it is no ACK, it asks again.

        So Envoy does when a cluster that it was sent anew waits for the same
        endpoints. Once its clusters are acknowledged, it has merely dropped an old
        one. A stream about endpoints alone cannot tell.
        """
        type_url = subscription.type_url
        if nonce not in {"", self._last_nonce.get(type_url, "")} or rules_of(type_url).full_state:
            return
        names = set(subscription.interest.names)
        if type_url == ENDPOINT_TYPE and self._aggregated:
            clusters = self._subscriptions.get(CLUSTER_TYPE)
            names &= set() if clusters is None else clusters.flight.puts()
        subscription.renew(names)
