"""Sensors and hosts as the API shows them: the picture, the plan and what was heard. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.model import HostView, SensorView, VmView
from control_plane.observe.access_log import Failure
from control_plane.reconcile.plan import Plan
from control_plane.reconcile.times import utc
from control_plane.reconcile.verdict import Heard, sensor_verdict
from control_plane.reconcile.world import World
from control_plane.store.records import HostRecord
from hyperv.model import VmState
from wire.ids import shard_of
from wire.status import StreamStatus

_NAMED_ORPHANS: Final = 5
_JUST_BEFORE_NS: Final = 2_000_000_000  # a stream is said to be cut once it was


def sensor_view(
    world: World, plan: Plan, sensor_id: str, heard: Mapping[str, Heard], failure: Failure | None = None
) -> SensorView:
    """Return the view of a sensor of `world.sensors`.

    Args:
        world: The picture.
        plan: What follows from it.
        sensor_id: The sensor.
        heard: What workers said, by node id.
        failure: The last failure of its stream.
    """
    sensor = world.sensors[sensor_id]
    spec = sensor.record.spec
    shard = shard_of(sensor_id, world.shards)
    lease = plan.memory.holders.get(shard) or world.leases.get(shard)
    told = plan.memory.assigned.get(sensor_id)
    said = None if lease is None else heard.get(lease.owner)
    stream = said.streams.get(sensor_id) if said is not None and said.fresh else None
    reason = failure.reason if failure is not None and _is_of(failure, stream) else None
    verdict = sensor_verdict(world, plan, sensor_id, heard, reason)
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
        stream=stream,
        node=None if told is None else told.worker,
    )


def _is_of(failure: Failure, stream: StreamStatus | None) -> bool:
    """Whether a failure is why a stream is as it is: Envoy and worker are on one machine, with one clock."""
    return stream is not None and failure.ended_unix_ns >= stream.since_unix_ns - _JUST_BEFORE_NS


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
