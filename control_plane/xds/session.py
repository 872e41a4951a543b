"""One client's stream: requests in, responses out, over all its types. Pure.

Order, for what is put: as in `TYPE_ORDER`, without waiting for answers (Envoy
withholds its answer to a cluster until the cluster's endpoints came). What is
removed goes only when no later type has anything under way: make before break.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from control_plane.resources.model import Resource, Snapshot
from control_plane.xds.subscription import Rejection, Settled, Subscription
from wire.names import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LEASE_TYPE,
    LISTENER_TYPE,
    POLICY_TYPE,
    ROUTE_TYPE,
    SENSOR_TYPE,
)

TYPE_ORDER: Final = (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LISTENER_TYPE,
    ROUTE_TYPE,
    POLICY_TYPE,
    LEASE_TYPE,
    SENSOR_TYPE,
)
# Naming nothing means nothing here: Envoy asks for no endpoints at all when its last cluster has gone.
_NO_LEGACY_WILDCARD: Final = frozenset({ENDPOINT_TYPE, ROUTE_TYPE})
MAX_TYPES: Final = 32
MAX_RESPONSE_BYTES: Final = 1 << 20


class ProtocolError(ValueError):
    """A request that breaks the xDS protocol; the text says which rule."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client says of one type, in either variant.

    Attributes:
        type_url: The type.
        subscribe: Names to add to what is wanted; `*` is everything.
        unsubscribe: Names to drop from it.
        has: Versions that the client states to run; counts in the first request of a type only.
        nonce: Which response this answers; empty if none.
        error: Why that response is refused; None if it is not.
    """

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    has: Mapping[str, str] = field(default_factory=dict)
    nonce: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What to send: resources to put and names that are not there (any more)."""

    type_url: str
    nonce: str
    put: tuple[Resource, ...]
    removed: tuple[str, ...]
    revision: int  # of the snapshot that it was made from


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """Where a client stands with one type. All mappings are by resource name.

    Attributes:
        sent: The newest version sent (or that the client stated to have).
        acked: The version that it is known to run.
        rejected: What it refused, with its own error text.
        acked_revision: The highest revision of which it runs everything; 0 if of none.
    """

    sent: Mapping[str, str]
    acked: Mapping[str, str]
    rejected: Mapping[str, Rejection]
    acked_revision: int


class Session:
    """The state of one stream. Nothing is sent before the first `update`: no empty configuration.

    What was refused is not sent again on the stream until it changes; a new
    stream is a new chance, because the client may have been restarted or healed.
    """

    def __init__(self, unsettled: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """Begin a stream; `unsettled` is that of the same node's stream before."""
        self._before: Mapping[str, Mapping[str, str]] = unsettled or {}
        self._subscriptions: dict[str, Subscription] = {}
        self._snapshot: Snapshot | None = None
        self._revision = 0
        self._nonces = 0
        # Clusters that were put and whose endpoints must follow, asked for or not.
        self._warming: set[str] = set()

    def update(self, snapshot: Snapshot, revision: int) -> None:
        """Have the client run `snapshot` from now on."""
        old = self._snapshot
        self._snapshot, self._revision = snapshot, revision
        for type_url, subscription in self._subscriptions.items():
            subscription.mark(_changed(None if old is None else old.of(type_url), snapshot.of(type_url)))
        self._complete(snapshot)

    def receive(self, request: Request) -> Settled | None:
        """Take a request; return the response that it settles, if it does.

        Subscribing and unsubscribing count even when the nonce is stale. Raises
        ProtocolError.
        """
        subscription = self._subscriptions.get(request.type_url)
        if subscription is None:
            subscription = self._begin(request)
        else:
            subscription.unsubscribe(request.unsubscribe)
            subscription.subscribe(request.subscribe)
        if request.type_url == ENDPOINT_TYPE:
            self._warm(subscription)
        settled = subscription.settle(request.nonce, request.error) if request.nonce else None
        if self._snapshot is not None:
            self._complete(self._snapshot)
        return settled

    def responses(self) -> list[Response]:
        """Return what to send now, in order, noted as sent. Ask again after each update and request."""
        snapshot = self._snapshot
        if snapshot is None:
            return []
        out: list[Response] = []
        in_order = sorted(self._subscriptions.values(), key=_rank)
        for position, subscription in enumerate(in_order):
            removals = not any(later.busy for later in in_order[position + 1 :])
            self._send(subscription, snapshot, removals, out)
        self._complete(snapshot)
        return out

    def acked_revisions(self) -> dict[str, int]:
        """Return, by type, the highest revision of which the client runs everything; 0 if of none."""
        return {type_url: each.acked_revision for type_url, each in self._subscriptions.items()}

    def runs(self, type_url: str, name: str, version: str | None) -> bool:
        """Whether the client is known to run this version of a resource; None: known to run none of it."""
        subscription = self._subscriptions.get(type_url)
        return subscription is not None and subscription.runs(name, version)

    def unsettled(self) -> dict[str, Mapping[str, str]]:
        """Return, by type and name, what the client may run without stating it on its next stream."""
        mine = {type_url: subscription.unsettled() for type_url, subscription in self._subscriptions.items()}
        return {**self._before, **mine}

    def status(self) -> dict[str, TypeStatus]:
        """Return where the client stands with each type that it asked for."""
        return {
            type_url: TypeStatus(
                dict(subscription.sent),
                dict(subscription.acked),
                dict(subscription.rejected),
                subscription.acked_revision,
            )
            for type_url, subscription in self._subscriptions.items()
        }

    def _begin(self, request: Request) -> Subscription:
        if not request.type_url:
            raise ProtocolError("type_url is empty: it must name the resource type")
        if len(self._subscriptions) >= MAX_TYPES:
            raise ProtocolError(f"type_url {request.type_url}: more than {MAX_TYPES} types on one stream")
        subscription = Subscription(request.type_url)
        subscription.begin(
            request.subscribe,
            request.has,
            legacy_wildcard=request.type_url not in _NO_LEGACY_WILDCARD,
            unsettled=self._before.get(request.type_url),
        )
        if self._snapshot is not None:
            subscription.mark(self._snapshot.of(request.type_url))
        self._subscriptions[request.type_url] = subscription
        return subscription

    def _send(
        self, subscription: Subscription, snapshot: Snapshot, removals: bool, out: list[Response]
    ) -> None:
        resources = snapshot.of(subscription.type_url)
        while True:
            nonce = str(self._nonces + 1)
            batch = subscription.take(resources, nonce, removals=removals, max_bytes=MAX_RESPONSE_BYTES)
            if batch is None:
                return
            self._nonces += 1
            out.append(Response(subscription.type_url, nonce, batch.put, batch.removed, self._revision))
            if subscription.type_url == CLUSTER_TYPE:
                self._warming.update(cluster.name for cluster in batch.put)
                self._warming.difference_update(batch.removed)
                self._warm(self._subscriptions.get(ENDPOINT_TYPE))

    def _complete(self, snapshot: Snapshot) -> None:
        """Note of which types nothing more is to be sent."""
        for type_url, subscription in self._subscriptions.items():
            subscription.prune(snapshot.of(type_url))
            subscription.complete(snapshot.of(type_url), self._revision)

    def _warm(self, endpoints: Subscription | None) -> None:
        """Have the endpoints of clusters that were put follow them.

        An updated cluster warms until its endpoints come, and in Delta Envoy
        does not ask for them again. On a new stream it may be put before the
        endpoints are asked for at all.
        """
        if endpoints is not None:
            asked = {name for name in self._warming if endpoints.wants(name)}
            endpoints.resend(asked)
            self._warming -= asked


def _rank(subscription: Subscription) -> int:
    """Return where a type stands in the order; those that are not in it come last, as they were asked for."""
    return TYPE_ORDER.index(subscription.type_url) if subscription.type_url in TYPE_ORDER else len(TYPE_ORDER)


def _changed(old: Mapping[str, Resource] | None, new: Mapping[str, Resource]) -> set[str]:
    """Return the names whose resource differs."""
    if old is None:
        return set(new)
    # Resources are built once and shared between snapshots, so `is` settles nearly all of them.
    changed = {name for name, resource in new.items() if old.get(name) is not resource}
    changed.update(old.keys() - new.keys())
    return changed
