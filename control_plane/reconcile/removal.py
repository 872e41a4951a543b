"""How a sensor leaves, one proved step after the other. Pure.

    removing written down
      -> no worker is told of it; workers are known to run none of it  (released)
      -> no Envoy is told of it; Envoys are known to run none of it    (drained)
      -> its host removes the VM, and says so
      -> its record is deleted

The mark is durable and the rest is found out again, so a restart goes on
where it was. No step is taken back.
"""

from __future__ import annotations

from collections.abc import Collection

from control_plane.reconcile.leases import holds_lease
from control_plane.reconcile.world import WorkerState, World
from control_plane.store.records import Lease, Sensor
from wire.ids import shard_of


def released_sensors(world: World, leaving: Collection[str], before: Collection[str]) -> frozenset[str]:
    """Return the sensors on their way out (`leaving`) that no worker runs; `before` did not already."""
    return frozenset(key for key in leaving if key in before or awaited_worker(world, key) is None)


def drained_sensors(world: World, released: Collection[str], before: Collection[str]) -> frozenset[str]:
    """Return those of `released` that no Envoy runs; of `before` none did already."""
    return frozenset(
        key for key in released if key in before or awaited_envoy(world, key, world.sensors[key]) is None
    )


def removable_records(world: World, drained: frozenset[str]) -> tuple[str, ...]:
    """Return the sensors of which nothing is left but the record."""
    gone = []
    for key in sorted(drained):
        host = world.hosts.get(world.sensors[key].record.spec.host)
        if host is not None and key in host.removed:
            gone.append(key)
    return tuple(gone)


def awaited_worker(world: World, sensor_id: str) -> str | None:
    """Return, in words, which worker must confirm that it runs none of a sensor; None: none must.

    The owner of the shard must, also while it is away: its streams go on
    without us. Of a former owner nothing is left once the present one holds the
    lease: it is fenced.
    """
    if sensor_id not in world.endpoints:
        return None  # no worker was ever told of it
    shard = shard_of(sensor_id, world.shards)
    lease = world.leases.get(shard)
    if lease is None:
        return None  # no worker ever owned its shard
    awaited = _awaited_owner(world, sensor_id, shard, lease)
    if awaited is not None:
        return awaited
    others = (node_id for node_id, worker in world.workers.items() if _may_run(worker, sensor_id))
    return next((f"worker {node_id}" for node_id in sorted(others)), None)


def _awaited_owner(world: World, sensor_id: str, shard: int, lease: Lease) -> str | None:
    owner = world.workers.get(lease.owner)
    if owner is None or not owner.connected:
        return f"worker {lease.owner}, which is not connected"
    if _may_run(owner, sensor_id):
        refused = owner.rejected.get(sensor_id)
        return f"worker {lease.owner}" + (f", which says: {refused}" if refused else "")
    if lease.generation > 1 and not holds_lease(world.workers, shard, lease):
        return f"worker {lease.owner} to take shard {shard} over"
    return None


def _may_run(worker: WorkerState, sensor_id: str) -> bool:
    return worker.connected and sensor_id not in worker.clear


def awaited_envoy(world: World, sensor_id: str, sensor: Sensor) -> str | None:
    """Return, in words, which Envoy must confirm that it has no endpoint of a sensor; None: none must.

    One that is away opens no stream to it, and is told when it comes back.
    """
    if sensor_id not in world.endpoints:
        return None
    host = sensor.record.spec.host
    for node_id, envoy in sorted(world.envoys.items()):
        if not envoy.connected:
            continue
        runs = envoy.runs.get(host)
        if runs is None or sensor_id in runs:
            refused = envoy.rejected.get(host)
            return f"Envoy {node_id}" + (f", which says: {refused}" if refused else "")
    return None
