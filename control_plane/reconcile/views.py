"""Sensors and hosts as the API shows them: the picture, the plan and what was heard. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.model import HostView, SensorView, VmView
from control_plane.reconcile.plan import Plan
from control_plane.reconcile.times import utc
from control_plane.reconcile.verdict import Heard, sensor_verdict
from control_plane.reconcile.world import World
from control_plane.store.records import HostRecord
from hyperv.model import VmState
from wire.ids import shard_of

_NAMED_ORPHANS: Final = 5


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
