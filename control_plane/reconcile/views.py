"""The picture, the plan and what was heard, as the API shows them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal

from control_plane.model import HostView, NodeView, SensorView, TypeView, VmView, WorkerView
from control_plane.reconcile.plan import Plan
from control_plane.reconcile.verdict import Heard, sensor_verdict
from control_plane.reconcile.world import World
from control_plane.resources.model import short_type
from control_plane.store.records import HostRecord
from control_plane.xds.cache import NodeStatus
from hyperv.model import VmState
from wire.ids import shard_of
from wire.names import WORKER_ROLE

_NAMED_ORPHANS: Final = 5
_NS: Final = 1_000_000_000


def sensor_view(world: World, plan: Plan, sensor_id: str, heard: Mapping[str, Heard]) -> SensorView:
    """Return the view of a sensor of `world.sensors`; `heard` is by worker."""
    sensor = world.sensors[sensor_id]
    spec = sensor.record.spec
    shard = shard_of(sensor_id, world.shards)
    lease = world.leases.get(shard)
    told = plan.memory.assigned.get(sensor_id)
    said = None if lease is None else heard.get(lease.owner)
    verdict = sensor_verdict(world, plan, sensor_id, heard)
    host = world.hosts.get(spec.host)
    return SensorView(
        id=sensor_id,
        host=spec.host,
        site=spec.site,
        metrics=spec.metrics,
        source=spec.source,
        flush_ms=spec.flush_ms,
        spool_bytes=spec.spool_bytes,
        created_at=utc(sensor.record.created_unix_ns),
        revision=sensor.revision,
        shard=shard,
        status=verdict.status,
        message=verdict.message,
        endpoint=world.endpoints.get(sensor_id),
        vm=None if host is None else _vm_view(host.vms.get(sensor_id)),
        stream=said.streams.get(sensor_id) if said is not None and said.fresh else None,
        node=None if told is None else told.worker,
    )


def _vm_view(vm: VmState | None) -> VmView | None:
    if vm is None:
        return None
    return VmView(vm_id=vm.vm_id, state=vm.state, incarnation=vm.incarnation, message=vm.message)


def host_view(world: World, host_id: str, record: HostRecord) -> HostView:
    """Return the view of a host."""
    state = world.hosts.get(host_id)
    sensors = {key for key, sensor in world.sensors.items() if sensor.record.spec.host == host_id}
    if state is None or state.reachable is None:
        message = "was not heard of yet"
    elif not state.reachable:
        message = f"does not answer: {state.message}; what it served stays in force"
    else:
        message = "answers" + _orphans(sorted(state.vms.keys() - sensors))
    return HostView(
        id=host_id,
        kind=record.kind,
        url=record.url,
        status="up" if state is not None and state.reachable else "unreachable",
        message=message,
        vms=0 if state is None else len(state.vms),
        sensors=len(sensors),
    )


def _orphans(names: list[str]) -> str:
    if not names:
        return ""
    listed = ", ".join(names[:_NAMED_ORPHANS]) + (", ..." if len(names) > _NAMED_ORPHANS else "")
    return f"; {len(names)} of its VMs belong to no sensor of this installation: {listed}"


def node_view(node: NodeStatus, heard: Heard | None) -> NodeView:
    """Return the view of an Envoy or a worker; `heard` is what the worker said last."""
    worker = node.key.role == WORKER_ROLE
    types = {
        short_type(type_url): TypeView(
            sent=sum(1 for version in status.sent.values() if version),
            acked=sum(1 for name, version in status.acked.items() if status.sent.get(name) == version),
            rejected={name: each.error for name, each in status.rejected.items()},
        )
        for type_url, status in node.types.items()
    }
    status, message = _node_status(node, types, heard if worker else None)
    since = node.connected_since_unix_ns
    return NodeView(
        id=node.key.node_id,
        role="worker" if worker else "envoy",
        connected_since=None if since is None else utc(since),
        status=status,
        message=message,
        types=types,
        worker=WorkerView.of(heard.status) if worker and heard is not None else None,
    )


def _node_status(
    node: NodeStatus, types: Mapping[str, TypeView], heard: Heard | None
) -> tuple[Literal["up", "degraded", "unreachable"], str]:
    """Return how a node stands, in one word and one sentence."""
    if node.connected_since_unix_ns is None:
        return "unreachable", "is not connected; it goes on with what it last accepted"
    refused = [
        f"{kind} {name}: {error}" for kind, each in types.items() for name, error in each.rejected.items()
    ]
    if refused:
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        return "degraded", f"refuses {refused[0]}{more}"
    if node.key.role == WORKER_ROLE:
        return _worker_status(heard)
    waits = [kind for kind, each in types.items() if each.acked < each.sent]
    return "up", f"takes {', '.join(waits)}" if waits else "runs all that it was sent"


def _worker_status(heard: Heard | None) -> tuple[Literal["up", "degraded", "unreachable"], str]:
    if heard is None:
        return "degraded", "is connected, but has not said yet how it is"
    if not heard.fresh:
        return "unreachable", f"is connected, but has been silent for {heard.age_s:.0f} s"
    status = heard.status
    if status.state != "running" or status.message:
        return "degraded", f"is {status.state}" + (f": {status.message}" if status.message else "")
    shards = ", ".join(map(str, status.shards)) or "none"
    return "up", f"is running; shards: {shards}"


def utc(unix_ns: int) -> datetime:
    """Return a time to the microsecond."""
    return datetime.fromtimestamp(unix_ns // _NS, UTC).replace(microsecond=unix_ns % _NS // 1000)
