"""Plans into the ADS server's cache, and the cache's nodes back into the picture."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

import structlog

from control_plane.reconcile.metrics import ReconcileMetrics
from control_plane.reconcile.plan import Plan, WorkerPlan
from control_plane.reconcile.world import EnvoyState, WorkerState
from control_plane.resources.model import InconsistentSnapshotError, Snapshot
from control_plane.resources.worker import worker_snapshot
from control_plane.xds.cache import NodeStatus, SnapshotCache
from control_plane.xds.node import NodeKey
from control_plane.xds.session import TypeStatus
from hyperv.model import Endpoint
from wire.names import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    ENVOY_ROLE,
    GATEWAY_PORT_METADATA,
    LEASE_TYPE,
    SENSOR_TYPE,
    WORKER_ROLE,
    host_cluster,
)

log = structlog.get_logger(__name__)

Endpoints = Mapping[str, Mapping[str, Endpoint]]  # {host: {sensor: endpoint}}
EnvoyBuilder = Callable[[Iterable[str], Endpoints, int], Snapshot]  # resources.envoy.envoy_snapshot

_NOTHING: Final = TypeStatus({}, {}, {}, 0)
_KEPT_VERSIONS: Final = 20  # of a host's endpoints: more than can be under way to an Envoy (MAX_IN_FLIGHT)


class Publisher:
    """Publishes what changed, and remembers what each version of a host's endpoints holds.

    Args:
        cache: The ADS server's.
        build_envoy: Builds an Envoy's snapshot.
        metrics: Counts what is built.
    """

    def __init__(self, cache: SnapshotCache, build_envoy: EnvoyBuilder, metrics: ReconcileMetrics) -> None:
        self._cache = cache
        self._build_envoy = build_envoy
        self._metrics = metrics
        self._revision = 0
        self._endpoints: Endpoints = {}
        self._envoys: dict[int, Snapshot] = {}  # by gateway port, of self._endpoints
        self._published: dict[NodeKey, object] = {}  # what its snapshot was made from
        self._contents: dict[str, OrderedDict[str, Mapping[str, Endpoint]]] = {}  # by host and version

    # --- the picture ------------------------------------------------------------------------
    def envoy(self, node: NodeStatus, hosts: Collection[str]) -> EnvoyState:
        """Return what is known of an Envoy."""
        port = node.metadata.get(GATEWAY_PORT_METADATA, 0)
        port = int(port) if isinstance(port, (int, float)) else 0
        if node.connected_since_unix_ns is None:
            return EnvoyState(connected=False, gateway_port=port)
        clusters = node.types.get(CLUSTER_TYPE, _NOTHING)
        endpoints = node.types.get(ENDPOINT_TYPE, _NOTHING)
        runs: dict[str, Mapping[str, Endpoint]] = {}
        rejected: dict[str, str] = {}
        for host in hosts:
            name = host_cluster(host)
            content = self._content(host, endpoints.acked.get(name))
            if content is not None and name in clusters.acked:
                runs[host] = content
            rejection = endpoints.rejected.get(name) or clusters.rejected.get(name)
            if rejection is not None:
                rejected[host] = rejection.error
        return EnvoyState(connected=True, gateway_port=port, runs=runs, rejected=rejected)

    def worker(self, node: NodeStatus, leaving: Collection[str]) -> WorkerState:
        """Return what is known of a worker; `leaving` are the sensors on their way out."""
        if node.connected_since_unix_ns is None:
            return WorkerState(connected=False, asked=SENSOR_TYPE in node.types)
        sensors = node.types.get(SENSOR_TYPE, _NOTHING)
        leases = node.types.get(LEASE_TYPE, _NOTHING)
        return WorkerState(
            connected=True,
            asked=SENSOR_TYPE in node.types,
            acked=sensors.acked,
            rejected={name: each.error for name, each in sensors.rejected.items()},
            leases={int(name): version for name, version in leases.acked.items() if name.isdecimal()},
            rejected_leases={
                int(name): each.error for name, each in leases.rejected.items() if name.isdecimal()
            },
            clear=frozenset(name for name in leaving if self._cache.runs(node.key, SENSOR_TYPE, name, None)),
        )

    # --- the plan ---------------------------------------------------------------------------
    def publish(self, plan: Plan, envoys: Mapping[str, EnvoyState]) -> None:
        """Publish what the plan has each node run, where that changed."""
        if plan.endpoints != self._endpoints:
            self._endpoints, self._envoys = plan.endpoints, {}
        for node_id, envoy in envoys.items():
            self._publish_envoy(NodeKey(ENVOY_ROLE, node_id), envoy.gateway_port)
        for node_id, worker in plan.workers.items():
            self._publish_worker(NodeKey(WORKER_ROLE, node_id), worker)

    def forget(self, key: NodeKey) -> None:
        """Drop a node that is gone for good."""
        self._cache.forget(key)
        self._published.pop(key, None)

    def _publish_envoy(self, key: NodeKey, port: int) -> None:
        made_from = (self._endpoints, port)
        if self._published.get(key) == made_from:
            return
        try:
            snapshot = self._envoys.get(port) or self._build_envoy(self._endpoints, self._endpoints, port)
        except InconsistentSnapshotError as error:
            self._refused(key, error)
        else:
            self._envoys[port] = snapshot
            self._remember(snapshot)
            self._put(key, snapshot)
        self._published[key] = made_from

    def _publish_worker(self, key: NodeKey, plan: WorkerPlan) -> None:
        if self._published.get(key) == plan:
            return
        try:
            self._put(key, worker_snapshot(plan.assignments, plan.leases, plan.policy))
        except InconsistentSnapshotError as error:
            self._refused(key, error)
        self._published[key] = plan

    def _put(self, key: NodeKey, snapshot: Snapshot) -> None:
        self._revision += 1
        self._cache.publish(key, snapshot, self._revision)
        self._metrics.snapshots.labels(key.role).inc()

    def _refused(self, key: NodeKey, error: InconsistentSnapshotError) -> None:
        self._metrics.refused_snapshots.labels(key.role).inc()
        log.error("snapshot_refused", role=key.role, node=key.node_id, problems=error.problems)

    def _content(self, host: str, version: str | None) -> Mapping[str, Endpoint] | None:
        """Return what a version of a host's endpoints holds; None if that is not known."""
        known = self._contents.get(host)
        if known is None or version is None or version not in known:
            return None
        known.move_to_end(version)  # kept for as long as an Envoy runs it
        return known[version]

    def _remember(self, snapshot: Snapshot) -> None:
        """Note what the snapshot's version of each host's endpoints holds."""
        versions = snapshot.of(ENDPOINT_TYPE)
        for host, placed in self._endpoints.items():
            known = self._contents.setdefault(host, OrderedDict())
            version = versions[host_cluster(host)].version
            known[version] = placed
            known.move_to_end(version)
            while len(known) > _KEPT_VERSIONS:
                known.popitem(last=False)
