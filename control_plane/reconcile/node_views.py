"""Nodes as the API shows them: what they were sent, run and refuse. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from control_plane.node_model import (
    NodeDetail,
    NodeSummary,
    NodeView,
    NodeWord,
    RejectionView,
    ResourceView,
    Role,
    TypeView,
    WorkerView,
)
from control_plane.reconcile.standing import Held, Refusal, Standing, standings
from control_plane.reconcile.times import utc
from control_plane.reconcile.verdict import Heard
from control_plane.resources.model import Resource, Snapshot, short_type
from control_plane.xds.cache import NodeStatus
from control_plane.xds.fingerprint import Fingerprint
from control_plane.xds.session import TypeStatus
from wire.names import ENVOY_ROLE, WORKER_ROLE

ROLES: Final[Mapping[Role, str]] = {"envoy": ENVOY_ROLE, "worker": WORKER_ROLE}
_NONE: Final[Mapping[str, Resource]] = {}


@dataclass(frozen=True, slots=True)
class KnownNode:
    """Everything that is known of one node.

    Attributes:
        status: What it was sent, and what it said to that.
        snapshot: What was published for it; None if nothing was.
        heard: What it said last of itself, if it is a worker.
        problems: Why what it should run was not published.
        held: What the pre-flight check keeps back from it.
    """

    status: NodeStatus
    snapshot: Snapshot | None = None
    heard: Heard | None = None
    problems: tuple[str, ...] = ()
    held: Held = field(default_factory=dict)

    @property
    def role(self) -> Role:
        """Its role in one word."""
        return "worker" if self.status.key.role == WORKER_ROLE else "envoy"

    @property
    def connected_since(self) -> datetime | None:
        """When its stream began; None while it has none."""
        return _time(self.status.connected_since_unix_ns)

    def wanted(self, type_url: str) -> Mapping[str, Resource]:
        """Return what it should run of a type."""
        return _NONE if self.snapshot is None else self.snapshot.of(type_url)


def node_summary(node: KnownNode) -> NodeSummary:
    """Return a node in a few words."""
    word, message = _condition(node)
    return NodeSummary(id=node.status.key.node_id, role=node.role, status=word, message=message)


def node_view(node: KnownNode) -> NodeView:
    """Return the view of a node."""
    word, message = _condition(node)
    return NodeView(
        id=node.status.key.node_id,
        role=node.role,
        status=word,
        message=message,
        connected_since=node.connected_since,
        problems=list(node.problems),
        types={
            short_type(type_url): _type_view(node, type_url, status)
            for type_url, status in node.status.types.items()
        },
        worker=None if node.heard is None else WorkerView.of(node.heard.status),
    )


def node_detail(node: KnownNode) -> NodeDetail:
    """Return a node with every resource."""
    resources = [
        resource_view(each)
        for type_url, status in node.status.types.items()
        for each in standings(status, type_url, node.snapshot, node.held)
    ]
    resources.sort(key=lambda each: (each.type, each.name))
    return NodeDetail(**dict(node_view(node)), resources=resources)


def resource_view(standing: Standing) -> ResourceView:
    """Return the view of one resource of a node."""
    since = _time(standing.since_unix_ns)
    return ResourceView(
        type=short_type(standing.type_url),
        name=standing.name,
        state=standing.state,
        since=since,
        wanted=standing.wanted,
        sent=standing.sent,
        acked=standing.acked,
        rejected=None if standing.refusal is None else _rejection(standing.refusal, since),
    )


# --- one type ---------------------------------------------------------------------------------
def _type_view(node: KnownNode, type_url: str, status: TypeStatus) -> TypeView:
    refused = dict(_refused(node, type_url, status))
    since = max(status.since.values(), default=None)
    live = _all_live(node, type_url, status)
    return TypeView(
        variant=status.variant,
        state="rejected" if refused else "live" if live else "warming",
        since=_time(since),
        wanted=len(node.wanted(type_url)),
        sent=_sent(status),
        acked=_acked(status),
        sent_version=str(Fingerprint.of(status.sent)),
        acked_version=str(Fingerprint.of(status.acked)),
        rejected={name: _rejection(each, _time(status.since.get(name))) for name, each in refused.items()},
    )


def _all_live(node: KnownNode, type_url: str, status: TypeStatus) -> bool:
    wanted = node.wanted(type_url)
    return len(wanted) == len(status.acked) and all(
        status.acked.get(name) == resource.version for name, resource in wanted.items()
    )


def _sent(status: TypeStatus) -> int:
    return sum(1 for version in status.sent.values() if version)


def _acked(status: TypeStatus) -> int:
    return sum(1 for name, version in status.acked.items() if status.sent.get(name) == version)


def _refused(node: KnownNode, type_url: str, status: TypeStatus) -> Iterator[tuple[str, Refusal]]:
    for name, rejection in status.rejected.items():
        yield name, Refusal(rejection.version or None, rejection.error)
    for (kind, name), refusal in node.held.items():
        if kind == type_url:
            yield name, refusal


def _rejection(refusal: Refusal, since: datetime | None) -> RejectionView:
    return RejectionView(version=refusal.version, error=refusal.error, by=refusal.by, since=since)


# --- in one word ------------------------------------------------------------------------------
def _condition(node: KnownNode) -> tuple[NodeWord, str]:
    """Return how a node stands, in one word and one sentence."""
    types = node.status.types
    if node.status.connected_since_unix_ns is None:
        return "unreachable", "is not connected; while it runs, it goes on with what it last accepted"
    refused = [
        _refusal_sentence(short_type(type_url), name, refusal)
        for type_url, status in types.items()
        for name, refusal in _refused(node, type_url, status)
    ]
    refused += [f"should run what breaks a rule, and was not sent: {problem}" for problem in node.problems]
    if refused:
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        return "degraded", refused[0] + more
    if node.role == "worker":
        return _worker_condition(node.heard)
    if node.snapshot is None:
        return "degraded", "is connected, but what it should run is not known yet"
    waits = [short_type(type_url) for type_url, status in types.items() if _acked(status) < _sent(status)]
    return "up", f"takes {', '.join(waits)}" if waits else "runs all that it was sent"


def _refusal_sentence(kind: str, name: str, refusal: Refusal) -> str:
    who = "is spared, because the pre-flight check refuses" if refusal.by == "preflight" else "refuses"
    return f"{who} {kind} {name}: {refusal.error}"


def _worker_condition(heard: Heard | None) -> tuple[NodeWord, str]:
    if heard is None:
        return "degraded", "is connected, but has not said yet how it is"
    if not heard.fresh:
        return "unreachable", f"is connected, but {heard.silence}"
    status = heard.status
    if status.state != "running" or status.message:
        return "degraded", f"is {status.state}" + (f": {status.message}" if status.message else "")
    shards = ", ".join(map(str, status.shards)) or "none"
    return "up", f"is running; shards: {shards}"


def _time(unix_ns: int | None) -> datetime | None:
    return None if unix_ns is None else utc(unix_ns)
