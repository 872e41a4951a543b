"""Snapshots by node, and the nodes that are connected. For one asyncio loop; no locks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from control_plane.resources.model import Snapshot, check_consistent
from control_plane.xds.connection import Connection
from control_plane.xds.messages import Request, Response, Settled, Variant
from control_plane.xds.node import TTL_FEATURE, WRAPPER_FEATURE, Node, NodeKey
from control_plane.xds.past import Past
from control_plane.xds.services import AGGREGATED, Service
from control_plane.xds.session import Session, TypeStatus
from control_plane.xds.status import News, NodeStatus, joined
from control_plane.xds.type_rules import TYPE_ORDER

__all__ = ["Connection", "News", "NodeStatus", "SnapshotCache"]


def steady_unix_ns() -> Callable[[], int]:
    """Return a clock of Unix ns that never jumps: the time of day now, and then time that passes."""
    base = time.time_ns() - time.monotonic_ns()
    return lambda: base + time.monotonic_ns()


@dataclass(slots=True)
class _Published:
    snapshot: Snapshot
    revision: int


@dataclass(slots=True)
class _Known:
    """Everything that is known of one node."""

    published: _Published | None = None
    connections: list[Connection] = field(default_factory=list)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    past: dict[str, Past] = field(default_factory=dict)  # of streams that ended, by type
    last: dict[str, TypeStatus] = field(default_factory=dict)  # how they stood at their end


class SnapshotCache:
    """What every node should run, and what it is known to run.

    Attributes:
        changes: Counts connects, disconnects and answers of nodes (see wait_change).
        streams: How many streams are open.
    """

    def __init__(self, clock: Callable[[], int] | None = None) -> None:
        """`clock` returns Unix ns."""
        self.changes = 0
        self.streams = 0
        self._clock = clock or steady_unix_ns()
        self._nodes: dict[NodeKey, _Known] = {}
        self._news: dict[NodeKey, News] = {}  # of which nodes there is any; names are collected when asked
        self._waiting: set[asyncio.Future[None]] = set()

    # --- for reconcilers --------------------------------------------------------------------
    def publish(self, key: NodeKey, snapshot: Snapshot, revision: int) -> None:
        """Have a node run `snapshot`, now or when it connects.

        A node that connects before anything was published for it is held: an
        empty configuration would end what it has. Work is in proportion to what
        `snapshot.changed_since` the last one.

        Raises:
            InconsistentSnapshotError: The snapshot breaks a rule; the last good one stays.
            ValueError: The revision is below that of the last one.
        """
        known = self._nodes.get(key)
        published = None if known is None else known.published
        if published is not None and revision < published.revision:
            raise ValueError(f"revision {revision} of {key} is below {published.revision}")
        if published is None or published.snapshot is not snapshot:
            check_consistent(snapshot, None if published is None else published.snapshot)
        known = known or self._nodes.setdefault(key, _Known())
        known.published = _Published(snapshot, revision)
        if published is not None:
            # Streams of types, or of names, that no stream asks for yet go on from it too.
            for type_url, names in snapshot.changed_since(published.snapshot).items():
                if type_url in known.past:
                    known.past[type_url].change(names, published.snapshot.of(type_url))
        now = self._clock()
        for connection in known.connections:
            before = connection.session.acked_revisions()
            connection.session.update(snapshot, revision, now)
            connection.wake()
            if connection.session.acked_revisions() != before:
                self._changed()

    def published(self, key: NodeKey) -> Snapshot | None:
        """Return the snapshot that was last published for a node."""
        known = self._nodes.get(key)
        return None if known is None or known.published is None else known.published.snapshot

    def forget(self, key: NodeKey) -> None:
        """Drop what was published for a node that is gone for good, and what it said. Raises ValueError.

        A connected node is not gone.
        """
        known = self._nodes.get(key)
        if known is not None and known.connections:
            raise ValueError(f"{key} is connected")
        self._nodes.pop(key, None)
        self._news.pop(key, None)

    def nodes(self) -> list[NodeStatus]:
        """Return where every node stands that is connected, was, or has a snapshot; sorted by key."""
        return [self._status(key, self._nodes[key]) for key in sorted(self._nodes)]

    def node(self, key: NodeKey) -> NodeStatus | None:
        """Return where a node stands; None if nothing was heard of it and nothing published for it."""
        known = self._nodes.get(key)
        return None if known is None else self._status(key, known)

    def take_news(self) -> dict[NodeKey, News]:
        """Return what is new of each node since the last call."""
        taken, self._news = self._news, {}
        for key, news in taken.items():
            for connection in self._open(key):
                for type_url, names in connection.session.take_news().items():
                    news.names.setdefault(type_url, set()).update(names)
        return {key: news for key, news in taken.items() if news.streams or news.names}

    def acked_revision(self, key: NodeKey, type_url: str) -> int:
        """Return the highest revision whose resources of this type the node runs, every one.

        0 if there is none, if the node has not asked for the type, or is not
        connected. While the node refuses a resource of the type, no revision
        that holds it counts: then ask `runs` for each resource.
        """
        return max((each.session.acked_revision(type_url) for each in self._open(key)), default=0)

    def runs(self, key: NodeKey, type_url: str, name: str, version: str | None) -> bool:
        """Whether a connected node is known to run this version of a resource.

        A version of None asks whether it is known to run none of it.
        """
        sessions = [each.session for each in self._open(key) if each.session.asked(type_url)]
        runs = [session.runs(type_url, name, version) for session in sessions]
        return bool(runs) and (all(runs) if version is None else any(runs))

    async def wait_change(self, after: int) -> int:
        """Return `changes` once it is above `after`: no change between two calls is missed."""
        while self.changes <= after:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(waiter)
            try:
                await waiter
            finally:
                self._waiting.discard(waiter)
        return self.changes

    # --- for the server ---------------------------------------------------------------------
    def connect(
        self,
        node: Node,
        now_unix_ns: int | None = None,
        *,
        variant: Variant = "delta",
        service: Service = AGGREGATED,
    ) -> Connection:
        """Begin a stream; one that it replaces is ended."""
        known = self._nodes.setdefault(node.key, _Known())
        replaced = self.replaced(node.key, service)
        if replaced is not None:
            replaced.end("the node opened another stream")
            self._end(known, replaced)
        if not known.connections:
            known.last = {}
        ttl = TTL_FEATURE in node.features and (variant == "delta" or WRAPPER_FEATURE in node.features)
        now = self._clock() if now_unix_ns is None else now_unix_ns
        connection = Connection(
            node, now, Session(known.past, variant, ttl=ttl, aggregated=service == AGGREGATED), service
        )
        known.connections.append(connection)
        known.metadata = node.metadata
        self.streams += 1
        if known.published is not None:
            connection.session.update(known.published.snapshot, known.published.revision, now)
        self._changed(node.key, streams=True)
        return connection

    def replaced(self, key: NodeKey, service: Service) -> Connection | None:
        """Return the stream that a new one of this service would replace."""
        same = (each for each in self._open(key) if each.service == service and service.single)
        return next(same, None)

    def streams_of(self, key: NodeKey) -> int:
        """Return how many streams a node has."""
        return len(self._open(key))

    def knows(self, key: NodeKey) -> bool:
        """Whether anything was published for a node, or heard of it."""
        return key in self._nodes

    @property
    def size(self) -> int:
        """How many nodes are known."""
        return len(self._nodes)

    def connected(self, role: str) -> int:
        """Return how many nodes of a role have a stream."""
        return sum(key.role == role and bool(known.connections) for key, known in self._nodes.items())

    def disconnect(self, connection: Connection) -> None:
        """End a stream; what was published for the node stays."""
        known = self._nodes.get(connection.node.key)
        if known is not None and connection in known.connections:
            self._end(known, connection)
            self._changed(connection.node.key, streams=True)

    def receive(self, connection: Connection, request: Request) -> Settled | None:
        """Take a request from a stream; return the response that it settles. Raises ProtocolError."""
        session = connection.session
        first = not session.asked(request.type_url)
        before = session.edits, session.acked_revisions()
        settled = session.receive(request, self._clock())
        connection.wake()
        # A client that only repeats itself must not have everybody look at it.
        if first or settled is not None or (session.edits, session.acked_revisions()) != before:
            self._changed(connection.node.key, streams=first)
        return settled

    def take(self, connection: Connection) -> list[Response]:
        """Return what to send on a stream now, noted as sent."""
        before = connection.session.acked_revisions()
        responses = connection.session.responses(self._clock())
        if responses or connection.session.acked_revisions() != before:
            self._changed(connection.node.key)
        return responses

    def next_look(self, connection: Connection, answer_s: float) -> tuple[float | None, str | None]:
        """Return when to look at a stream again, in s, though nothing happens, and what is overdue.

        Args:
            connection: The stream.
            answer_s: For how long a response may be without an answer.
        """
        now, session = self._clock(), connection.session
        waits = session.waits()
        overdue = next((url for url, since in waits if now - since > answer_s * 1e9), None)
        at = [since + answer_s * 1e9 for _, since in waits]
        if session.next_beat is not None:
            at.append(session.next_beat)
        return (max(min(at) - now, 0) / 1e9 + 0.001 if at else None), overdue

    def connections(self) -> list[Connection]:
        """Return the open streams."""
        return [connection for known in self._nodes.values() for connection in known.connections]

    def _open(self, key: NodeKey) -> list[Connection]:
        known = self._nodes.get(key)
        return [] if known is None else known.connections

    def _end(self, known: _Known, connection: Connection) -> None:
        known.connections.remove(connection)
        known.past.update(connection.session.past())
        known.last.update(
            (type_url, status)
            for type_url, status in connection.session.status().items()
            if type_url in TYPE_ORDER or type_url in known.past
        )
        self.streams -= 1

    def _status(self, key: NodeKey, known: _Known) -> NodeStatus:
        open_ = known.connections
        return NodeStatus(
            key=key,
            connected_since_unix_ns=min((each.since_unix_ns for each in open_), default=None),
            metadata=known.metadata,
            types=joined(each.session.status() for each in open_) if open_ else known.last,
            revision=None if known.published is None else known.published.revision,
        )

    def _changed(self, key: NodeKey | None = None, *, streams: bool = False) -> None:
        if key is not None:
            news = self._news.setdefault(key, News())
            news.streams = news.streams or streams
        self.changes += 1
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
