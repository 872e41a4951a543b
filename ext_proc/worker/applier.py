"""Brings resources of the control plane into force."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ext_proc.follower.assignment import Assignment
from ext_proc.follower.follower import Follower
from ext_proc.worker.ads_state import Change
from ext_proc.worker.policy import PolicyInForce
from ext_proc.worker.resources import Lease, decode_resource
from ext_proc.worker.shards import ShardKeeper
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.names import LEASE_TYPE, SENSOR_TYPE


class WorkerApplier:
    """Applies one change at a time for each name; see ads_client.Applier.

    `keepers` holds a keeper for each shard that was ever wanted here.
    """

    def __init__(
        self, follower: Follower, policy: PolicyInForce, new_keeper: Callable[[int], ShardKeeper]
    ) -> None:
        self._follower = follower
        self._policy = policy
        self._new_keeper = new_keeper
        self.keepers: dict[int, ShardKeeper] = {}

    async def apply(self, type_url: str, change: Change) -> None:
        """Bring `change` into force. Raises ResourceError, NotAppliedError."""
        if change.body is None:
            await self._remove(type_url, change.name)
            return
        resource = decode_resource(type_url, change.name, change.body)
        match resource:
            case Assignment():
                await self._follower.assign(resource)
            case Lease():
                await self._keeper(resource.shard).hold(resource)
            case config_pb2.WindowPolicy():
                await self._change_policy(resource)

    async def _remove(self, type_url: str, name: str) -> None:
        if type_url == SENSOR_TYPE:
            await self._follower.unassign(name)
        elif type_url == LEASE_TYPE:
            keeper = next((keeper for keeper in self.keepers.values() if str(keeper.shard) == name), None)
            if keeper is not None:
                await keeper.release()
        # A policy that is removed stays in force until another one comes: there is no shard without one.

    def _keeper(self, shard: int) -> ShardKeeper:
        if shard not in self.keepers:
            self.keepers[shard] = self._new_keeper(shard)
        return self.keepers[shard]

    async def _change_policy(self, policy: config_pb2.WindowPolicy) -> None:
        self._policy.change(policy)
        await asyncio.gather(*(keeper.change_policy(policy) for keeper in self.keepers.values()))
