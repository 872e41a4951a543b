"""Snapshots by node, and the nodes that are connected. For one asyncio loop; no locks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from control_plane.resources.model import Snapshot, check_consistent
from control_plane.xds.node import Node, NodeKey
from control_plane.xds.session import Request, Response, Session, TypeStatus
from control_plane.xds.subscription import Settled


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """Where one node stands.

    Attributes:
        key: The node.
        connected_since_unix_ns: When its stream began; None while it has none.
        metadata: What it last said of itself.
        types: By type URL, what it was sent and what it said to that, on its
            stream or, while it has none, on its last one.
        revision: The revision last published for it; None if none was.
    """

    key: NodeKey
    connected_since_unix_ns: int | None
    metadata: Mapping[str, Any]
    types: Mapping[str, TypeStatus]
    revision: int | None


@dataclass(slots=True)
class News:
    """What became known of a node.

    Attributes:
        streams: A stream began or ended, or a type was asked for the first time.
        names: By type URL, resources whose sent, acked or rejected version changed.
    """

    streams: bool = False
    names: dict[str, set[str]] = field(default_factory=dict)


class Connection:
    """One stream of one node. `ended` says why the server must end it; None while it may go on."""

    def __init__(self, node: Node, since_unix_ns: int, session: Session) -> None:
        self.node = node
        self.since_unix_ns = since_unix_ns
        self.session = session
        self.ended: str | None = None
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Have `wait` return: there may be something to send."""
        self._wake.set()

    def end(self, reason: str) -> None:
        """Have the server end the stream."""
        self.ended = reason
        self.wake()

    async def wait(self) -> None:
        """Return at the next `wake`, or at once if there was one since."""
        await self._wake.wait()
        self._wake.clear()


@dataclass(slots=True)
class _Published:
    snapshot: Snapshot
    revision: int


class SnapshotCache:
    """What every node should run, and what it is known to run.

    Attributes:
        changes: Counts connects, disconnects and answers of nodes (see wait_change).
    """

    def __init__(self) -> None:
        self.changes = 0
        self._published: dict[NodeKey, _Published] = {}
        self._connections: dict[NodeKey, Connection] = {}
        self._last: dict[NodeKey, Connection] = {}  # of nodes without a stream now
        self._waiting: set[asyncio.Future[None]] = set()
        self._news: dict[NodeKey, News] = {}

    # --- for reconcilers --------------------------------------------------------------------
    def publish(self, key: NodeKey, snapshot: Snapshot, revision: int) -> None:
        """Have a node run `snapshot`, now or when it connects.

        A node that connects before anything was published for it is held: an
        empty configuration would end what it has.

        Raises:
            InconsistentSnapshotError: The snapshot breaks a rule; the last good one stays.
            ValueError: The revision is below that of the last one.
        """
        published = self._published.get(key)
        if published is not None and revision < published.revision:
            raise ValueError(f"revision {revision} of {key} is below {published.revision}")
        if published is None or published.snapshot is not snapshot:
            check_consistent(snapshot)
        self._published[key] = _Published(snapshot, revision)
        connection = self._connections.get(key)
        if connection is not None:
            before = connection.session.acked_revisions()
            connection.session.update(snapshot, revision)
            connection.wake()
            if connection.session.acked_revisions() != before:
                self._changed()

    def forget(self, key: NodeKey) -> None:
        """Drop what was published for a node that is gone for good, and what it said. Raises ValueError.

        A connected node is not gone.
        """
        if key in self._connections:
            raise ValueError(f"{key} is connected")
        self._published.pop(key, None)
        self._last.pop(key, None)

    def nodes(self) -> list[NodeStatus]:
        """Return where every node stands that is connected, was, or has a snapshot; sorted by key."""
        keys = {*self._published, *self._connections, *self._last}
        return [self._status(key) for key in sorted(keys)]

    def node(self, key: NodeKey) -> NodeStatus | None:
        """Return where a node stands; None if nothing is known of it."""
        known = key in self._published or key in self._connections or key in self._last
        return self._status(key) if known else None

    def take_news(self) -> dict[NodeKey, News]:
        """Return what became known of each node since it was last asked."""
        news, self._news = self._news, {}
        return news

    def published(self, key: NodeKey) -> Snapshot | None:
        """Return what a node should run; None if nothing was published for it."""
        published = self._published.get(key)
        return None if published is None else published.snapshot

    def acked_revision(self, key: NodeKey, type_url: str) -> int:
        """Return the highest revision whose resources of this type the node runs, every one.

        0 if there is none, if the node has not asked for the type, or is not
        connected. While the node refuses a resource of the type, no revision
        that holds it counts: then ask `runs` for each resource.
        """
        connection = self._connections.get(key)
        return 0 if connection is None else connection.session.acked_revisions().get(type_url, 0)

    def runs(self, key: NodeKey, type_url: str, name: str, version: str | None) -> bool:
        """Whether a connected node is known to run this version of a resource.

        A version of None asks whether it is known to run none of it.
        """
        connection = self._connections.get(key)
        return connection is not None and connection.session.runs(type_url, name, version)

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
    def connect(self, node: Node, now_unix_ns: int) -> Connection:
        """Begin a stream; one that the node already has is ended."""
        replaced = self._connections.get(node.key)
        if replaced is not None:
            replaced.end("the node opened another stream")
        before = replaced or self._last.pop(node.key, None)
        session = Session(None if before is None else before.session.unsettled())
        connection = self._connections[node.key] = Connection(node, now_unix_ns, session)
        published = self._published.get(node.key)
        if published is not None:
            connection.session.update(published.snapshot, published.revision)
        self._news.setdefault(node.key, News()).streams = True
        self._changed()
        return connection

    def disconnect(self, connection: Connection) -> None:
        """End a stream; what was published for the node stays."""
        key = connection.node.key
        if self._connections.get(key) is connection:
            del self._connections[key]
            self._last[key] = connection
            self._news.setdefault(key, News()).streams = True
            self._changed()

    def receive(self, connection: Connection, request: Request) -> Settled | None:
        """Take a request from a stream; return the response that it settles. Raises ProtocolError."""
        settled = connection.session.receive(request)
        self._news.setdefault(connection.node.key, News()).streams = True
        connection.wake()
        self._changed()
        return settled

    def take(self, connection: Connection) -> list[Response]:
        """Return what to send on a stream now, noted as sent."""
        before = connection.session.acked_revisions()
        responses = connection.session.responses()
        if responses or connection.session.acked_revisions() != before:
            self._changed()
        return responses

    def connections(self) -> list[Connection]:
        """Return the open streams."""
        return list(self._connections.values())

    def _status(self, key: NodeKey) -> NodeStatus:
        connected = self._connections.get(key)
        known = connected or self._last.get(key)
        published = self._published.get(key)
        return NodeStatus(
            key=key,
            connected_since_unix_ns=None if connected is None else connected.since_unix_ns,
            metadata={} if known is None else known.node.metadata,
            types={} if known is None else known.session.status(),
            revision=None if published is None else published.revision,
        )

    def _changed(self) -> None:
        self.changes += 1
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
