"""Which worker should own which shard, and which one writes it meanwhile. Pure.

Rendezvous hashing: each shard goes to the worker with the highest hash of
both names, so that a worker that goes moves its own shards and no others.
https://en.wikipedia.org/wiki/Rendezvous_hashing
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from control_plane.reconcile.world import WorkerState
from control_plane.resources.worker import ShardLease, lease_resource
from control_plane.store.records import Lease


@dataclass(frozen=True, slots=True)
class LeaseClaim:
    """A lease to be written, if the shard's is still at revision `last` (0: there is none)."""

    shard: int
    owner: str
    generation: int
    last: int


def rendezvous(shard: int, workers: Collection[str]) -> str:
    """Return the worker that comes first for a shard; `workers` is not empty."""
    return max(workers, key=lambda worker: (hashlib.sha256(f"{shard}/{worker}".encode()).digest(), worker))


def due_claims(
    shards: int,
    leases: Mapping[int, Lease],
    connected: Collection[str],
    recent: Collection[str],
    *,
    holders: Mapping[int, Lease],
    steady: Collection[str] = (),
) -> tuple[LeaseClaim, ...]:
    """Return the leases that must be written.

    An owner keeps its shard while it is in `recent` (connected now, or a moment
    ago): moving a shard folds its journal again. Without any connected worker
    nothing moves. The generation rises with each new owner, so that what the
    old one still writes is fenced.

    When nothing else is to be done, and each shard is written by its owner
    (`holders`), the first one moves that belongs to another of the `steady` workers.
    """
    if not connected:
        return ()
    claims = []
    for shard in range(shards):
        lease = leases.get(shard)
        if lease is None:
            claims.append(LeaseClaim(shard, rendezvous(shard, connected), 1, 0))
        elif lease.owner not in recent:
            owner = rendezvous(shard, connected)
            claims.append(LeaseClaim(shard, owner, lease.generation + 1, lease.revision))
    return tuple(claims) or _rebalancing(shards, leases, holders, steady)


def _rebalancing(
    shards: int, leases: Mapping[int, Lease], holders: Mapping[int, Lease], steady: Collection[str]
) -> tuple[LeaseClaim, ...]:
    """Return the one lease by which the shards come closer to their places; none while one is moving."""
    if any(holders.get(shard) != leases[shard] for shard in range(shards)):
        return ()
    for shard in range(shards):
        lease = leases[shard]
        owner = rendezvous(shard, steady) if lease.owner in steady else lease.owner
        if owner != lease.owner:
            return (LeaseClaim(shard, owner, lease.generation + 1, lease.revision),)
    return ()


def holds_lease(workers: Mapping[str, WorkerState], shard: int, lease: Lease) -> bool:
    """Whether the owner of a lease is known to write the shard under it."""
    owner = workers.get(lease.owner)
    version = lease_resource(ShardLease(shard, lease.generation)).version
    return owner is not None and owner.connected and owner.leases.get(shard) == version


def _former_holder(workers: Mapping[str, WorkerState], shard: int, lease: Lease) -> Lease | None:
    former = (Lease(node_id, lease.generation - 1, 0) for node_id in sorted(workers))
    return next((each for each in former if holds_lease(workers, shard, each)), None)


def shard_holders(
    leases: Mapping[int, Lease], workers: Mapping[str, WorkerState], before: Mapping[int, Lease]
) -> dict[int, Lease]:
    """Return, by shard, the lease under which it is written, as far as that is known.

    Make before break: a worker that wrote it before (`before`) goes on until
    the new owner has acknowledged its lease, which it does once its first
    append, and so the fence, is in. One that is away by then has nothing to keep.
    After a restart of ours it is whoever says to hold the lease before.
    """
    holders = {}
    for shard, lease in leases.items():
        old = before.get(shard) or _former_holder(workers, shard, lease)
        if holds_lease(workers, shard, lease):
            holders[shard] = lease
        elif old is not None and old.generation <= lease.generation:
            worker = workers.get(old.owner)
            if old == lease or (worker is not None and worker.connected):
                holders[shard] = old
    return holders
