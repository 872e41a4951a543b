"""Plans into the ADS server's cache: each node's snapshot, made from the one before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from control_plane.reconcile.gate import Gate
from control_plane.reconcile.metrics import ReconcileMetrics
from control_plane.reconcile.plan import Plan, WorkerPlan
from control_plane.reconcile.versions import EndpointVersions
from control_plane.reconcile.world import EnvoyState
from control_plane.resources.gateway import EnvoyParts, EnvoySnapshots
from control_plane.resources.model import InconsistentSnapshotError, Resource, Snapshot
from control_plane.resources.rule import rule_resource
from control_plane.resources.worker import (
    assignment_resource,
    lease_resource,
    policy_resource,
    worker_snapshot,
)
from control_plane.xds.cache import SnapshotCache
from control_plane.xds.node import NodeKey
from wire.names import (
    ENDPOINT_TYPE,
    ENVOY_ROLE,
    LEASE_TYPE,
    RULE_TYPE,
    SENSOR_TYPE,
    WORKER_ROLE,
    host_cluster,
)

log = structlog.get_logger(__name__)

ENVOYS: Final = NodeKey(ENVOY_ROLE, "*")


@dataclass(slots=True)
class _Worker:
    """What was published for a worker, and what from."""

    snapshot: Snapshot
    plan: WorkerPlan


class Publisher:
    """Publishes what changed.

    Args:
        cache: The ADS server's.
        parts: Builds Envoy's resources.
        versions: Is told what each version of a host's endpoints holds.
        metrics: Counts and times what is built.
        gate: Says what of an Envoy's snapshot may go out.

    Attributes:
        problems: By node, why its newest snapshot was refused and the last good
            one is in force; the id `*` stands for every Envoy.
    """

    def __init__(
        self,
        cache: SnapshotCache,
        parts: EnvoyParts,
        versions: EndpointVersions,
        metrics: ReconcileMetrics,
        gate: Gate,
    ) -> None:
        self.problems: dict[NodeKey, tuple[str, ...]] = {}
        self._cache = cache
        self._versions = versions
        self._metrics = metrics
        self._revision = 0
        self._snapshots = EnvoySnapshots(parts)
        self._due_hosts: set[str] = set()
        self._gate = gate
        self._ports: set[int] = set()
        self._envoys: dict[str, Snapshot] = {}
        self._workers: dict[str, _Worker] = {}

    def publish(self, plan: Plan, envoys: Mapping[str, EnvoyState]) -> None:
        """Publish what the plan has each node run, where that changed."""
        self._due_hosts |= plan.difference.hosts
        with self._metrics.snapshot_seconds.labels(ENVOY_ROLE).time():
            if self._due_hosts:
                self._change_hosts(plan)
            self._keep_ports({envoy.gateway_port for envoy in envoys.values()})
            admitted = {
                port: self._gate.admitted(port, self._snapshots.of_port(port)) for port in self._ports
            }
            for node_id, envoy in envoys.items():
                self._publish_envoy(node_id, admitted[envoy.gateway_port])
        with self._metrics.snapshot_seconds.labels(WORKER_ROLE).time():
            for node_id in self._workers.keys() - plan.workers.keys():
                del self._workers[node_id]  # it has not said yet what it runs: then all of it is compared
            for node_id, worker in plan.workers.items():
                self._publish_worker(node_id, worker, plan.difference.assigned.get(node_id, frozenset()))

    def forget(self, key: NodeKey) -> None:
        """Drop a node that is gone for good."""
        self._cache.forget(key)
        (self._envoys if key.role == ENVOY_ROLE else self._workers).pop(key.node_id, None)
        self.problems.pop(key, None)

    # --- Envoys -----------------------------------------------------------------------------
    def _change_hosts(self, plan: Plan) -> None:
        """Change all hosts that are due; if that breaks a rule, one by one: good ones wait for no other."""
        problems = self._change(plan, tuple(self._due_hosts))
        left = len(self._due_hosts) + 1
        while problems and len(self._due_hosts) < left:  # one may be good once another has changed
            left = len(self._due_hosts)
            problems = [each for host in sorted(self._due_hosts) for each in self._change(plan, (host,))]
        if problems:
            self._refused(ENVOYS, InconsistentSnapshotError(problems))
        else:
            self.problems.pop(ENVOYS, None)

    def _change(self, plan: Plan, hosts: Iterable[str]) -> list[str]:
        """Change hosts together; return what rules that would break: then nothing has changed."""
        changed = {host: plan.endpoints.get(host) for host in hosts}
        try:
            self._snapshots.change(changed)
        except InconsistentSnapshotError as error:
            return list(error.problems)
        self._due_hosts.difference_update(changed)
        versions = self._snapshots.shared.of(ENDPOINT_TYPE)
        for host, placed in changed.items():
            if placed is None:
                self._versions.forget(host)
            else:
                self._versions.remember(host, versions[host_cluster(host)].version, placed)
        return []

    def _keep_ports(self, ports: set[int]) -> None:
        if ports != self._ports:
            self._ports = ports
            self._snapshots.keep(ports)
            self._gate.keep(ports)

    def _publish_envoy(self, node_id: str, snapshot: Snapshot | None) -> None:
        if snapshot is not None and self._envoys.get(node_id) is not snapshot:
            self._envoys[node_id] = snapshot
            self._put(NodeKey(ENVOY_ROLE, node_id), snapshot)

    # --- workers ----------------------------------------------------------------------------
    def _publish_worker(self, node_id: str, plan: WorkerPlan, assigned: frozenset[str]) -> None:
        known = self._workers.get(node_id)
        if known is None:
            snapshot = worker_snapshot(plan.assignments.values(), plan.leases, plan.policy, plan.rules)
        elif assigned or _of_all(plan) != _of_all(known.plan):
            snapshot = _changed(known, plan, assigned)
        else:
            return
        self._workers[node_id] = _Worker(snapshot, plan)
        self._put(NodeKey(WORKER_ROLE, node_id), snapshot)

    def _put(self, key: NodeKey, snapshot: Snapshot) -> None:
        try:
            self._cache.publish(key, snapshot, self._revision + 1)
        except InconsistentSnapshotError as error:
            self._refused(key, error)
            return
        self._revision += 1
        self.problems.pop(key, None)
        self._metrics.snapshots.labels(key.role).inc()

    def _refused(self, key: NodeKey, error: InconsistentSnapshotError) -> None:
        if self.problems.get(key) == error.problems:
            return
        self.problems[key] = error.problems
        self._metrics.refused_snapshots.labels(key.role).inc()
        log.error("snapshot_refused", role=key.role, node=key.node_id, problems=error.problems)


def _of_all(plan: WorkerPlan) -> tuple[object, ...]:
    """Return what a plan says beside its assignments."""
    return plan.leases, plan.policy, plan.rules


def _changed(known: _Worker, plan: WorkerPlan, assigned: frozenset[str]) -> Snapshot:
    """Return a worker's snapshot with these assignments, and all else as it is now."""
    put: list[Resource] = [
        assignment_resource(plan.assignments[name]) for name in assigned if name in plan.assignments
    ]
    removed = [(SENSOR_TYPE, name) for name in assigned if name not in plan.assignments]
    if plan.leases != known.plan.leases:
        now = {each.name: each for each in map(lease_resource, plan.leases)}
        put += now.values()
        removed += [(LEASE_TYPE, name) for name in known.snapshot.of(LEASE_TYPE) if name not in now]
    if plan.policy != known.plan.policy:
        put.append(policy_resource(plan.policy))
    if plan.rules != known.plan.rules:
        rules = {each.name: each for each in map(rule_resource, plan.rules)}
        put += [each for each in rules.values() if known.snapshot.of(RULE_TYPE).get(each.name) != each]
        removed += [(RULE_TYPE, name) for name in known.snapshot.of(RULE_TYPE) if name not in rules]
    return known.snapshot.with_changes(put, removed)
