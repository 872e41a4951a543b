"""The nodes in the picture: what the ADS server's cache says of them, kept up to date by its news.

No I/O: reads the cache, which is in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from control_plane.reconcile.roster import Changed
from control_plane.reconcile.versions import EndpointVersions
from control_plane.reconcile.world import EnvoyState, WorkerState
from control_plane.xds.cache import News, NodeStatus, SnapshotCache
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

_ENDPOINT_TYPES: Final = (CLUSTER_TYPE, ENDPOINT_TYPE)


class NodePictures:
    """Every node, as the planner sees it.

    Attributes:
        envoys: By node id.
        workers: By node id.
        versions: What each version of a host's endpoints holds.
    """

    def __init__(self, cache: SnapshotCache, versions: EndpointVersions) -> None:
        self.envoys: dict[str, EnvoyState] = {}
        self.workers: dict[str, WorkerState] = {}
        self._cache = cache
        self.versions = versions
        self._runs: dict[str, dict[str, Mapping[str, Endpoint]]] = {}  # of the Envoys, by node id and host
        self._rejected: dict[str, dict[str, str]] = {}
        self._host_of: dict[str, str] = {}  # by cluster

    def keys(self) -> dict[NodeKey, bool]:
        """Return every node, and whether it has a stream."""
        envoys = {NodeKey(ENVOY_ROLE, node_id): each.connected for node_id, each in self.envoys.items()}
        return envoys | {
            NodeKey(WORKER_ROLE, node_id): each.connected for node_id, each in self.workers.items()
        }

    def forget(self, key: NodeKey) -> None:
        """Drop a node that is gone for good."""
        if key.role == WORKER_ROLE:
            self.workers.pop(key.node_id, None)
            return
        for known in (self.envoys, self._runs, self._rejected):
            known.pop(key.node_id, None)

    def update(self, news: Mapping[NodeKey, News], hosts: AbstractSet[str], changed: Changed) -> None:
        """Take the cache's news in; adds to `changed` what they may change."""
        came = hosts - set(self._host_of.values())
        if came or len(self._host_of) != len(hosts):
            self._host_of = {host_cluster(host): host for host in hosts}
        for key, of_node in news.items():
            node = self._cache.node(key)
            if node is None:
                continue
            if key.role == ENVOY_ROLE:
                self._update_envoy(node, of_node, changed)
            else:
                self._update_worker(node, of_node, changed)
        if came:
            self.look_again(came, changed)

    def look_again(self, hosts: Iterable[str], changed: Changed) -> None:
        """See anew which endpoints of `hosts` the Envoys run: more versions may be known."""
        for node_id, envoy in self.envoys.items():
            node = self._cache.node(NodeKey(ENVOY_ROLE, node_id)) if envoy.connected else None
            if node is not None:
                self._see_hosts(node, hosts, changed)

    # --- Envoys -----------------------------------------------------------------------------
    def _update_envoy(self, node: NodeStatus, news: News, changed: Changed) -> None:
        node_id = node.key.node_id
        connected = node.connected_since_unix_ns is not None
        known = self.envoys.get(node_id)
        if known is None or known.connected != connected:
            self._runs[node_id], self._rejected[node_id] = {}, {}
            changed.nodes.add(node_id)
        self.envoys[node_id] = EnvoyState(
            connected=connected,
            gateway_port=int(node.metadata.get(GATEWAY_PORT_METADATA, 0)),  # see xds.node.read_node
            runs=self._runs[node_id],
            rejected=self._rejected[node_id],
        )
        if not connected:
            return
        if news.streams:
            self._see_hosts(node, self._host_of.values(), changed)
        else:
            names = {name for type_url in _ENDPOINT_TYPES for name in news.names.get(type_url, ())}
            hosts = {self._host_of[name] for name in names if name in self._host_of}
            self._see_hosts(node, hosts, changed)

    def _see_hosts(self, node: NodeStatus, hosts: Iterable[str], changed: Changed) -> None:
        runs, rejected = self._runs[node.key.node_id], self._rejected[node.key.node_id]
        clusters = node.types.get(CLUSTER_TYPE, NOTHING)
        endpoints = node.types.get(ENDPOINT_TYPE, NOTHING)
        for host in hosts:
            name = host_cluster(host)
            before = runs.pop(host, {})
            content = self.versions.content(host, endpoints.acked.get(name))
            if content is not None and name in clusters.acked:
                runs[host] = content
            if content is not before:
                changed.sensors |= differing(before, runs.get(host, {}))
            rejection = endpoints.rejected.get(name) or clusters.rejected.get(name)
            rejected.pop(host, None)
            if rejection is not None:
                rejected[host] = rejection.error

    # --- workers ----------------------------------------------------------------------------
    def _update_worker(self, node: NodeStatus, news: News, changed: Changed) -> None:
        node_id = node.key.node_id
        asked = SENSOR_TYPE in node.types
        known = self.workers.get(node_id)
        connected = node.connected_since_unix_ns is not None
        if news.streams or known is None or known.connected != connected or known.asked != asked:
            changed.nodes.add(node_id)
        changed.sensors |= set(news.names.get(SENSOR_TYPE, ()))
        changed.shards |= {int(name) for name in news.names.get(LEASE_TYPE, ()) if name.isdecimal()}
        if not connected:
            self.workers[node_id] = WorkerState(connected=False, asked=asked)
            return
        sensors = node.types.get(SENSOR_TYPE, NOTHING)
        leases = node.types.get(LEASE_TYPE, NOTHING)
        self.workers[node_id] = WorkerState(
            connected=True,
            asked=asked,
            acked=sensors.acked,
            rejected={name: each.error for name, each in sensors.rejected.items()},
            leases={int(name): version for name, version in leases.acked.items() if name.isdecimal()},
            rejected_leases={
                int(name): each.error for name, each in leases.rejected.items() if name.isdecimal()
            },
            clear=_Clear(self._cache, node.key),
        )


NOTHING: Final = TypeStatus({}, {}, {}, 0)


class _Clear:
    """The sensors that a worker is known to run nothing of."""

    def __init__(self, cache: SnapshotCache, key: NodeKey) -> None:
        self._cache = cache
        self._key = key

    def __contains__(self, sensor_id: object) -> bool:
        return isinstance(sensor_id, str) and self._cache.runs(self._key, SENSOR_TYPE, sensor_id, None)


def differing(before: Mapping[str, Endpoint], after: Mapping[str, Endpoint]) -> set[str]:
    """Return the sensors whose endpoint differs."""
    if before is after:
        return set()
    changed = {key for key, each in after.items() if before.get(key) != each}
    changed.update(before.keys() - after.keys())
    return changed
