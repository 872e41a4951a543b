"""Which worker should own which shard. Pure.

Rendezvous hashing: each shard goes to the worker with the highest hash of
both names, so that a worker that goes moves its own shards and no others.
https://en.wikipedia.org/wiki/Rendezvous_hashing
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

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
    shards: int, leases: Mapping[int, Lease], connected: Collection[str], recent: Collection[str]
) -> tuple[LeaseClaim, ...]:
    """Return the leases that must be written.

    An owner keeps its shard while it is in `recent` (connected now, or a moment
    ago): moving a shard folds its journal again. Without any connected worker
    nothing moves. The generation rises with each new owner, so that what the
    old one still writes is fenced.
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
    return tuple(claims)
