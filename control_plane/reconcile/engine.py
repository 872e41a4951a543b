"""One step after the other: what changed, the picture, the plan, the snapshots.

Awaits nothing and reads no clock: nothing changes between the picture and
what is published, and a step can be tried with any course of events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from control_plane.reconcile.admission import Checks
from control_plane.reconcile.gate import Gate
from control_plane.reconcile.metrics import ReconcileMetrics
from control_plane.reconcile.nodes import NodePictures
from control_plane.reconcile.plan import Plan, Planner
from control_plane.reconcile.publisher import Publisher
from control_plane.reconcile.roster import Changed
from control_plane.reconcile.standing import NOT_HELD, Held
from control_plane.reconcile.versions import EndpointVersions
from control_plane.reconcile.world import HostState, World
from control_plane.resources.gateway import EnvoyParts
from control_plane.resources.worker import WindowPolicy
from control_plane.rule_model import Rule
from control_plane.store.records import Lease, Sensor
from control_plane.xds.cache import SnapshotCache
from control_plane.xds.node import NodeKey
from hyperv.model import Endpoint
from wire.names import ENVOY_ROLE


class Desired(Protocol):
    """What should be, as it is now (control_plane.store.desired.DesiredState)."""

    @property
    def sensors(self) -> Mapping[str, Sensor]:
        """By id."""
        ...

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """By sensor."""
        ...

    @property
    def leases(self) -> Mapping[int, Lease]:
        """By shard."""
        ...

    @property
    def policy(self) -> WindowPolicy:
        """How windows are made."""
        ...

    @property
    def rules(self) -> Mapping[str, Rule]:
        """By id."""
        ...

    def take_changes(self) -> tuple[set[str], set[int]]:
        """Return the sensors (record or endpoint) and the leases that changed since it was last asked."""
        ...


class Engine:
    """Plans and publishes.

    Attributes:
        world: The picture of the last step; its mappings are as they are now.
        plan: The plan of the last step.
        nodes: The nodes in the picture.
        problems: See Publisher.
        gate: Says what does not pass the pre-flight check.
    """

    def __init__(
        self,
        desired: Desired,
        cache: SnapshotCache,
        parts: EnvoyParts,
        metrics: ReconcileMetrics,
        *,
        shards: int,
        checks: Checks | None = None,
    ) -> None:
        """`checks` is the pre-flight check; None: everything goes out unchecked."""
        self.gate = Gate(checks)
        self.world: World | None = None
        self.plan: Plan | None = None
        self._desired = desired
        self._cache = cache
        self._shards = shards
        versions = EndpointVersions()
        self.nodes = NodePictures(cache, versions)
        self._publisher = Publisher(cache, parts, versions, metrics, self.gate)
        self.problems = self._publisher.problems
        self._planner = Planner()
        self._hosts: dict[str, HostState] = {}
        self._changed = Changed(everything=True)

    @property
    def due(self) -> bool:
        """Whether another step would find something to do, though nothing happens."""
        return bool(self._changed.sensors)

    def look(self, hosts: Mapping[str, HostState]) -> None:
        """Take in what changed: desired state, hosts (every one, by id), nodes."""
        sensors, leases = self._desired.take_changes()
        self._changed.sensors |= sensors
        self._changed.shards |= leases
        for host_id, state in hosts.items():
            before = self._hosts.get(host_id)
            if before is not state:
                self._changed.sensors |= _differing(before, state)
        self._hosts = dict(hosts)
        self.nodes.update(self._cache.take_news(), hosts.keys(), self._changed)

    def step(self, recent: frozenset[str], steady: frozenset[str] = frozenset()) -> Plan:
        """Plan and publish what follows from what was seen; `recent` and `steady` as in World."""
        changed, self._changed = self._changed, Changed()
        desired = self._desired
        self.world = World(
            shards=self._shards,
            sensors=desired.sensors,
            endpoints=desired.endpoints,
            leases=desired.leases,
            policy=desired.policy,
            hosts=self._hosts,
            envoys=self.nodes.envoys,
            workers=self.nodes.workers,
            recent=recent,
            steady=steady,
            rules=desired.rules,
        )
        self.plan = plan = self._planner.plan(self.world, changed)
        self._publisher.publish(plan, self.nodes.envoys)
        self.world = replace(self.world, refused=self.gate.refused())
        # An Envoy may have come with a version that is known only now.
        self.nodes.look_again(plan.difference.hosts, self._changed)
        return plan

    def held(self, key: NodeKey) -> Held:
        """Return what the pre-flight check keeps back from a node."""
        envoy = self.nodes.envoys.get(key.node_id) if key.role == ENVOY_ROLE else None
        return NOT_HELD if envoy is None else self.gate.refusals(envoy.gateway_port)

    def forget(self, key: NodeKey) -> None:
        """Drop a node that is gone for good."""
        self._publisher.forget(key)
        self.nodes.forget(key)


def _differing(before: HostState | None, after: HostState) -> set[str]:
    """Return the sensors of which a host says something else than before."""
    old = {} if before is None else before.vms
    if old is after.vms:
        return set()
    changed = {sensor_id for sensor_id, vm in after.vms.items() if old.get(sensor_id) != vm}
    changed.update(old.keys() - after.vms.keys())
    return changed
