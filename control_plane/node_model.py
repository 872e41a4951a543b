"""What is known of Envoys and workers, and of what carries a sensor, as the API tells the world.

`control_plane.reconcile.standing` says what the states of a resource mean.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from control_plane.model import SensorView
from wire.status import RejectedInput, StreamStatus, WorkerStatus

Role = Literal["envoy", "worker"]
NodeWord = Literal["up", "degraded", "unreachable"]
Variant = Literal["delta", "sotw"]
ResourceState = Literal["live", "warming", "pending", "rejected", "removing", "absent"]
RefusedBy = Literal["node", "preflight"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RejectionView(_Value):
    """A version of a resource that was refused, and is not sent again until it changes.

    Attributes:
        version: Which; None if it was the removal that was refused.
        error: Why, in the words of whoever refused it.
        by: The node itself, or the pre-flight check before the node saw it.
        since: When it was refused.
    """

    version: str | None
    error: str
    by: RefusedBy
    since: datetime | None


class ResourceView(_Value):
    """Where a node stands with one resource. Versions are hashes of its content.

    Attributes:
        type: The short type name, as in `Cluster`.
        name: Its name.
        state: In one word: `live` (it runs what it should), `warming` (that was sent, and
            is not known to run yet), `pending` (not sent yet), `rejected`, `removing` (it runs
            what it should not any more), `absent` (it asked for what there is not).
        since: When it came into that state.
        wanted: The version that it should run; None: none.
        sent: The version that it was sent last.
        acked: The version that it is known to run.
        rejected: What was refused of it.
    """

    type: str
    name: str
    state: ResourceState
    since: datetime | None
    wanted: str | None
    sent: str | None
    acked: str | None
    rejected: RejectionView | None


class TypeView(_Value):
    """Where a node stands with one resource type.

    Attributes:
        variant: How it speaks xDS: Delta, or State of the World.
        state: `rejected` if anything is refused, else `warming` if anything is not live yet, else `live`.
        since: When the last of its resources came into its state.
        wanted: How many resources it should run.
        sent: How many resources it was sent, or said to have.
        acked: How many of them it is known to run as sent.
        sent_version: A hash over names and versions of what was sent: two nodes with the same
            were sent the same. It is what SotW calls `version_info`.
        acked_version: The same over what it is known to run.
        rejected: By name, what was refused.
    """

    variant: Variant
    state: Literal["live", "warming", "rejected"]
    since: datetime | None
    wanted: int
    sent: int
    acked: int
    sent_version: str
    acked_version: str
    rejected: dict[str, RejectionView]


class WorkerView(_Value):
    """A worker's last status, without its streams.

    Attributes:
        rejected: How many frames, records and readings it could not use since it began, by reason.
        rejected_last: Where it last met such, newest first; a few.
    """

    node_id: str
    pid: int
    now_unix_ns: int
    state: Literal["starting", "running", "paused", "stopping"]
    message: str | None
    shards: list[int]
    readings_per_s: float
    rejected: dict[str, int] = {}
    rejected_last: list[RejectedInput] = []

    @classmethod
    def of(cls, status: WorkerStatus) -> Self:
        """Return what `status` says beside its streams."""
        return cls(**status.model_dump(exclude={"streams"}))


class NodeSummary(_Value):
    """A node in a few words."""

    id: str
    role: Role
    status: NodeWord
    message: str


class NodeView(NodeSummary):
    """An Envoy or a worker.

    Attributes:
        connected_since: When its first open stream began; None while it has none.
        problems: Why what it should run by now was not published; the last good snapshot is in force.
        types: By the short type name, as in `Cluster`.
        worker: What the worker said last of itself; None of an Envoy.
    """

    connected_since: datetime | None
    problems: list[str]
    types: dict[str, TypeView]
    worker: WorkerView | None


class NodeDetail(NodeView):
    """A node with every resource that it should run, was sent or asked for, by type and name."""

    resources: list[ResourceView]


# --- what carries a sensor ----------------------------------------------------------------------
class FailureView(_Value):
    """The last failure of a sensor's stream, as an Envoy's access log has it.

    Attributes:
        at: When the stream ended, by the Envoy's clock.
        node: The Envoy.
        reason: Why, in a sentence.
        flags: Envoy's response flags, in their short form (`UF`, `UC`, ...).
        details: Envoy's response code details.
        transport_failure: Why the connection failed; None if it did not.
        cluster: The Envoy cluster of its host; None if none was found.
        upstream: The address of the VM that was tried; None if none was.
        status: The HTTP status that the worker was given; None if none was.
        lasted_s: How long the stream was open.
    """

    at: datetime
    node: str
    reason: str
    flags: tuple[str, ...]
    details: str
    transport_failure: str | None
    cluster: str | None
    upstream: str | None
    status: int | None
    lasted_s: float


class CarrierView(_Value):
    """An Envoy or a worker that a sensor's stream goes through, or should.

    Attributes:
        id: The node.
        role: An Envoy or a worker.
        connected_since: As in the node itself.
        state: `live` if it runs all that it should of the sensor, `unreachable` if it is not
            connected, else the state of the first of its resources that is not live.
        endpoint: Of an Envoy: the address that it is known to send the sensor's stream to.
        resources: What the node is told of the sensor: the cluster and the endpoints of its host,
            or its shard and the sensor itself.
        stream: Of a worker: what it last said of the stream, if it did within 5 s.
    """

    id: str
    role: Role
    connected_since: datetime | None
    state: ResourceState | Literal["unreachable"]
    endpoint: str | None
    resources: list[ResourceView]
    stream: StreamStatus | None


class SensorDetail(SensorView):
    """A sensor, with every node that carries it and what last went wrong.

    Attributes:
        carried_by: Envoys and workers, by role and id.
        last_failure: None if none was heard of since the control plane began.
    """

    carried_by: list[CarrierView]
    last_failure: FailureView | None
