"""Brings resources of the control plane into force."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ext_proc.follower.assignment import Assignment
from ext_proc.follower.follower import Follower
from ext_proc.worker.ads_state import Change
from ext_proc.worker.policy import PolicyInForce
from ext_proc.worker.resources import Lease, ResourceError, decode_resource
from ext_proc.worker.rules import RulesInForce
from ext_proc.worker.shards import ShardKeeper
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.names import LEASE_TYPE, RULE_TYPE, SENSOR_TYPE


class WorkerApplier:
    """Applies one change at a time for each name; see ads_client.Applier.

    `keepers` holds a keeper for each shard that was ever wanted here.
    """

    def __init__(
        self,
        follower: Follower,
        policy: PolicyInForce,
        rules: RulesInForce,
        new_keeper: Callable[[int], ShardKeeper],
    ) -> None:
        self._follower = follower
        self._policy = policy
        self._rules = rules
        self._new_keeper = new_keeper
        self.keepers: dict[int, ShardKeeper] = {}

    def heard(self, type_url: str, *, empty: bool) -> None:
        """See ads_client.Applier."""
        if type_url == RULE_TYPE and self._rules.heard() and empty:
            self._want_rules()  # else what is put will

    async def apply(self, type_url: str, change: Change) -> None:
        """Bring `change` into force. Raises ResourceError, NotAppliedError."""
        if change.body is None:
            await self._remove(type_url, change.name)
            return
        try:
            resource = decode_resource(type_url, change.name, change.body)
        except ResourceError:
            if type_url == RULE_TYPE:
                self._want_rules()  # it may be the only one: then there are none
            raise
        match resource:
            case Assignment():
                await self._follower.assign(resource)
            case Lease():
                await self._keeper(resource.shard).hold(resource)
            case config_pb2.WindowPolicy():
                await self._change_policy(resource)
            case config_pb2.Rule():
                self._rules.put(resource)
                await self._change_rules()

    async def _remove(self, type_url: str, name: str) -> None:
        if type_url == SENSOR_TYPE:
            await self._follower.unassign(name)
        elif type_url == LEASE_TYPE:
            keeper = next((keeper for keeper in self.keepers.values() if str(keeper.shard) == name), None)
            if keeper is not None:
                await keeper.release()
        elif type_url == RULE_TYPE:
            self._rules.remove(name)
            await self._change_rules()
        # A policy that is removed stays in force until another one comes: there is no shard without one.

    def _keeper(self, shard: int) -> ShardKeeper:
        if shard not in self.keepers:
            self.keepers[shard] = self._new_keeper(shard)
        return self.keepers[shard]

    async def _change_policy(self, policy: config_pb2.WindowPolicy) -> None:
        self._policy.change(policy)
        await asyncio.gather(*(keeper.change_policy(policy) for keeper in self.keepers.values()))

    async def _change_rules(self) -> None:
        self._want_rules()
        version = self._rules.version
        await asyncio.gather(*(keeper.follows_rules(version) for keeper in self.keepers.values()))

    def _want_rules(self) -> None:
        rules = self._rules.rules()
        for keeper in self.keepers.values():
            keeper.want_rules(rules, self._rules.version)
