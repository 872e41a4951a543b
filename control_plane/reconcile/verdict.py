"""How a sensor stands, in one word and one sentence. Pure.

The rules are tried in order; the first that applies decides:

    removing     its removal was asked for
    unreachable  its VM has failed
    live         Envoy runs the endpoint, the worker acknowledged the assignment to
                 it, and said a moment ago that the stream from it is live
    rejected     its host, Envoy or worker refuses something of it
    unreachable  what it needs is away: host, Envoy or worker
    degraded     it was live, or should be by now, and is being repaired
    pending      everything else: on its way
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from control_plane.model import SensorStatus
from control_plane.reconcile.leases import holds_lease
from control_plane.reconcile.placement import assignment_of, envoy_runs
from control_plane.reconcile.plan import Plan
from control_plane.reconcile.removal import awaited_envoy, awaited_worker
from control_plane.reconcile.world import HostState, WorkerState, World
from control_plane.resources.worker import SensorAssignment, assignment_resource
from control_plane.store.records import Lease, Sensor
from hyperv.model import Endpoint
from wire.ids import shard_of
from wire.names import CLUSTER_TYPE, host_cluster
from wire.status import StreamStatus, WorkerStatus

FRESH_S: Final = 5.0  # a worker speaks once a second; one that is silent for longer proves nothing


@dataclass(frozen=True, slots=True)
class Heard:
    """What a worker said last.

    Attributes:
        status: Its status.
        streams: Its streams, by sensor.
        age_s: How long ago that was, by our own clock.
        audible: Whether NATS, over which workers speak, is there.
    """

    status: WorkerStatus
    streams: Mapping[str, StreamStatus]
    age_s: float
    audible: bool = True

    @property
    def fresh(self) -> bool:
        """Whether it is recent enough to prove anything."""
        return self.age_s <= FRESH_S

    @property
    def silence(self) -> str:
        """How long it has not been heard, and why, as the end of a sentence about it."""
        if self.audible:
            return f"has been silent for {self.age_s:.0f} s"
        return f"was last heard {self.age_s:.0f} s ago: NATS, over which it speaks, is away"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One word, and one sentence that says what is waited for or what is wrong."""

    status: SensorStatus
    message: str


@dataclass(frozen=True, slots=True)
class _Case:
    """Everything that is known of one sensor."""

    world: World
    plan: Plan
    sensor_id: str
    sensor: Sensor
    host: HostState
    lease: Lease | None
    heard: Heard | None  # the worker that writes its shard
    endpoint: Endpoint | None
    failure: str | None  # why its stream failed last, as an Envoy has it

    @property
    def host_id(self) -> str:
        return self.sensor.record.spec.host

    @property
    def stream(self) -> StreamStatus | None:
        return self.heard.streams.get(self.sensor_id) if self.heard and self.heard.fresh else None

    @property
    def assigned(self) -> SensorAssignment | None:
        known = self.plan.memory.assigned.get(self.sensor_id)
        return None if known is None else known.assignment


def sensor_verdict(
    world: World, plan: Plan, sensor_id: str, heard: Mapping[str, Heard], failure: str | None = None
) -> Verdict:
    """Return how a sensor of `world.sensors` stands.

    Args:
        world: The picture.
        plan: What follows from it.
        sensor_id: The sensor.
        heard: What workers said, by node id.
        failure: Why its stream failed in its present state, as an Envoy says: the worker
            only sees that it did.
    """
    sensor = world.sensors[sensor_id]
    shard = shard_of(sensor_id, world.shards)
    lease = plan.memory.holders.get(shard) or world.leases.get(shard)
    case = _Case(
        world,
        plan,
        sensor_id,
        sensor,
        world.hosts.get(sensor.record.spec.host, HostState()),
        lease,
        None if lease is None else heard.get(lease.owner),
        plan.endpoints.get(sensor.record.spec.host, {}).get(sensor_id),
        failure,
    )
    for rule in (_removing, _vm_failed, _live, _rejected, _refused, _unreachable, _degraded):
        verdict = rule(case)
        if verdict is not None:
            return verdict
    return Verdict("pending", _awaited(case))


def _removing(case: _Case) -> Verdict | None:
    if not case.sensor.record.removing:
        return None
    memory = case.plan.memory
    if case.sensor_id not in memory.released:
        awaited = awaited_worker(case.world, case.sensor_id) or "the workers"
        return Verdict("removing", f"waits for {awaited}, to confirm that its stream is over")
    if case.sensor_id not in memory.drained:
        awaited = awaited_envoy(case.world, case.sensor_id, case.sensor) or "the Envoys"
        return Verdict("removing", f"waits for {awaited}, to confirm that its endpoint is gone")
    return Verdict("removing", f"waits for {_awaited_removal(case)}")


def _awaited_removal(case: _Case) -> str:
    host = f"host {case.host_id}"
    if case.sensor_id in case.host.removed:
        return "its record to be deleted"
    if case.host_id not in case.world.hosts:
        return f"{host}, which is not configured, to remove its VM"
    if case.host.reachable is False:
        return f"{host}, which does not answer: {case.host.message}"
    failure = case.host.failures.get(case.sensor_id)
    return f"{host} to remove its VM" + (f", which says: {failure.reason}" if failure else "")


def _vm_failed(case: _Case) -> Verdict | None:
    vm = case.host.vms.get(case.sensor_id)
    if vm is None or vm.state != "failed" or not case.host.reachable:
        return None
    return Verdict("unreachable", f"its VM has failed: {vm.message or 'the host does not say why'}")


def _live(case: _Case) -> Verdict | None:
    if case.endpoint is None or case.lease is None or case.stream is None:
        return None
    world, owner = case.world, case.lease.owner
    worker = world.workers.get(owner)
    wanted = assignment_of(world, case.sensor_id, case.sensor, case.endpoint)
    proved = (
        envoy_runs(world, owner, case.host_id, case.sensor_id, case.endpoint)
        and worker is not None
        and worker.acked.get(case.sensor_id) == assignment_resource(wanted).version
        and case.stream.state == "live"
        and case.stream.endpoint_version == wanted.endpoint_version
    )
    return Verdict("live", f"streams from {wanted.endpoint_version} to worker {owner}") if proved else None


def _rejected(case: _Case) -> Verdict | None:
    failure = case.host.failures.get(case.sensor_id)
    if failure is not None and failure.terminal:
        return Verdict("rejected", f"host {case.host_id} refuses its VM: {failure.reason}")
    if case.sensor_id in case.plan.left_out:
        other = case.plan.left_out[case.sensor_id]
        return Verdict("rejected", f"its address is also that of sensor {other}, which keeps it")
    refused = case.world.refused.get((CLUSTER_TYPE, host_cluster(case.host_id)))
    if refused is not None:
        return Verdict(
            "rejected", f"the cluster of host {case.host_id} does not pass Envoy's own validation: {refused}"
        )
    return None


def _refused(case: _Case) -> Verdict | None:
    if case.lease is None or case.endpoint is None:
        return None
    owner = case.lease.owner
    worker = case.world.workers.get(owner)
    if worker is not None and case.sensor_id in worker.rejected:
        return Verdict("rejected", f"worker {owner} refuses it: {worker.rejected[case.sensor_id]}")
    envoy = case.world.envoys.get(owner)
    if envoy is not None and case.host_id in envoy.rejected:
        return Verdict(
            "rejected", f"Envoy {owner} refuses the endpoints of its host: {envoy.rejected[case.host_id]}"
        )
    return None


def _unreachable(case: _Case) -> Verdict | None:
    if case.host.reachable is False:
        return Verdict("unreachable", f"host {case.host_id} does not answer: {case.host.message}")
    if case.lease is None or (case.assigned is None and case.lease.owner in case.world.recent):
        return None  # nothing is held for it yet; or we have just begun, and they are coming back
    owner = case.lease.owner
    worker, envoy = case.world.workers.get(owner), case.world.envoys.get(owner)
    if worker is None or not worker.connected:
        return Verdict("unreachable", f"worker {owner}, which owns its shard, is not connected")
    if envoy is None or not envoy.connected:
        return Verdict("unreachable", f"Envoy {owner}, which its stream goes through, is not connected")
    if case.heard is not None and not case.heard.fresh:
        return Verdict("unreachable", f"worker {owner} {case.heard.silence}")
    return None


def _degraded(case: _Case) -> Verdict | None:
    vm = case.host.vms.get(case.sensor_id)
    stream = case.stream
    if stream is not None and stream.state in {"backoff", "silent"}:
        why = f"; Envoy says: {case.failure}" if case.failure else ""
        return Verdict("degraded", f"its stream is {_condition(stream)}{why}")
    if case.assigned is None:
        return None
    failure = case.host.failures.get(case.sensor_id)
    if failure is not None:
        return Verdict("degraded", f"host {case.host_id} did not do what it was asked: {failure.reason}")
    if vm is not None and vm.state == "starting":
        return Verdict("degraded", "its agent is starting again")
    if stream is not None and stream.reconnects and stream.state == "connecting":
        return Verdict("degraded", f"its stream is opened again{_because(stream.error)}")
    return None


def _condition(stream: StreamStatus) -> str:
    word = "open but silent" if stream.state == "silent" else "cut, and tried again soon"
    return word + _because(stream.error)


def _because(error: str | None) -> str:
    return f": {error}" if error else ""


def _awaited(case: _Case) -> str:
    """Return what a sensor on its way waits for: the first link that is missing."""
    if case.host_id not in case.world.hosts:
        return f"waits for host {case.host_id}, which is not configured"
    if case.host.reachable is None:
        return f"waits for host {case.host_id} to answer for the first time"
    if case.endpoint is None:
        failure = case.host.failures.get(case.sensor_id)
        reason = f", which says: {failure.reason}" if failure else ""
        return f"waits for host {case.host_id} to start its VM{reason}"
    if case.lease is None:
        return "waits for a worker: none has connected yet"
    return _awaited_of_node(case, case.lease, case.endpoint)


def _awaited_of_node(case: _Case, lease: Lease, endpoint: Endpoint) -> str:
    owner = lease.owner
    worker, envoy = case.world.workers.get(owner), case.world.envoys.get(owner)
    if worker is None or not worker.connected:
        return f"waits for worker {owner}, which is not connected"
    if envoy is None or not envoy.connected:
        return f"waits for Envoy {owner}, which is not connected"
    if not envoy_runs(case.world, owner, case.host_id, case.sensor_id, endpoint):
        return f"waits for Envoy {owner} to take its endpoint {endpoint.version}"
    return _awaited_of_worker(case, worker, lease, endpoint)


def _awaited_of_worker(case: _Case, worker: WorkerState, lease: Lease, endpoint: Endpoint) -> str:
    owner = lease.owner
    shard = shard_of(case.sensor_id, case.world.shards)
    if shard in worker.rejected_leases:
        return f"waits for worker {owner} to open shard {shard}: {worker.rejected_leases[shard]}"
    wanted = assignment_of(case.world, case.sensor_id, case.sensor, endpoint)
    if worker.acked.get(case.sensor_id) != assignment_resource(wanted).version:
        return f"waits for worker {owner} to take its assignment"
    stream = case.stream
    if stream is None:
        held = holds_lease(case.world.workers, shard, lease)
        return f"waits for worker {owner} to {'say how its stream is' if held else f'open shard {shard}'}"
    if stream.endpoint_version != endpoint.version:
        return f"waits for worker {owner} to move its stream to {endpoint.version}"
    return f"waits for its stream from {endpoint.version}: {stream.state}{_because(stream.error)}"
