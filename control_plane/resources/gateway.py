"""The snapshots of all Envoys, kept as hosts change. Pure.

All Envoys run the same clusters, endpoints and routes; each has a listener on
a port of its own. A change of one sensor builds its host's load assignment
anew, and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Protocol

from control_plane.resources.model import InconsistentSnapshotError, Resource, Snapshot, new_snapshot
from hyperv.model import Endpoint
from wire.names import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE, SECRET_TYPE, host_cluster

ENVOY_TYPES: Final = (CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE, SECRET_TYPE)

Placed = Mapping[str, Endpoint]  # by sensor


class EnvoyParts(Protocol):
    """Builds single resources (control_plane.resources.envoy.PARTS)."""

    def cluster(self, host_id: str) -> Resource:
        """Return the cluster of a host."""
        ...

    def endpoints(self, host_id: str, placed: Placed) -> Resource:
        """Return the load assignment of a host."""
        ...

    def listener(self, gateway_port: int) -> Resource:
        """Return the gateway on a port of 127.0.0.1; 0: chosen by the system."""
        ...

    def routes(self) -> Resource:
        """Return the gateway's routes."""
        ...


class EnvoySnapshots:
    """What each Envoy should run, by the port of its gateway.

    Attributes:
        shared: What all of them run: everything but the listener.
    """

    def __init__(self, parts: EnvoyParts) -> None:
        self._parts = parts
        self._hosts: dict[str, Placed] = {}
        self._host_of: dict[str, str] = {}
        self._of_port: dict[int, Snapshot] = {}
        self.shared = new_snapshot([parts.routes()], ENVOY_TYPES)

    def change(self, hosts: Mapping[str, Placed | None]) -> None:
        """Have these hosts run these endpoints; None: the host is gone.

        One without endpoints has its cluster too, empty.

        Raises InconsistentSnapshotError for what Envoy would take without a
        word and serve wrongly: a sensor on two hosts, two sensors of a host at
        one address. Then nothing has changed.
        """
        if problems := self._problems(hosts):
            raise InconsistentSnapshotError(problems)
        put: list[Resource] = []
        removed: list[tuple[str, str]] = []
        for host, placed in hosts.items():
            for sensor_id in self._hosts.pop(host, {}):
                if self._host_of.get(sensor_id) == host:
                    del self._host_of[sensor_id]
            if placed is None:
                removed += [(type_url, host_cluster(host)) for type_url in (CLUSTER_TYPE, ENDPOINT_TYPE)]
                continue
            if host_cluster(host) not in self.shared.of(CLUSTER_TYPE):
                put.append(self._parts.cluster(host))
            put.append(self._parts.endpoints(host, placed))
            self._hosts[host] = dict(placed)
        for host in hosts:
            self._host_of.update(dict.fromkeys(self._hosts.get(host, ()), host))
        self.shared = self.shared.with_changes(put, removed)
        self._of_port = {port: each.with_changes(put, removed) for port, each in self._of_port.items()}

    def keep(self, ports: Collection[int]) -> None:
        """Forget what is run on any other port."""
        self._of_port = {port: each for port, each in self._of_port.items() if port in ports}

    def of_port(self, gateway_port: int) -> Snapshot:
        """Return what an Envoy should run whose gateway is on this port."""
        snapshot = self._of_port.get(gateway_port)
        if snapshot is None:
            snapshot = self.shared.with_changes([self._parts.listener(gateway_port)])
            self._of_port[gateway_port] = snapshot
        return snapshot

    def _problems(self, hosts: Mapping[str, Placed | None]) -> list[str]:
        problems = []
        new_host_of: dict[str, str] = {}
        for host, placed in hosts.items():
            sensor_at: dict[tuple[str, int], str] = {}
            for sensor_id, endpoint in (placed or {}).items():
                old = self._host_of.get(sensor_id)
                other = new_host_of.setdefault(sensor_id, host if old is None or old in hosts else old)
                if other != host:
                    problems.append(f"sensor {sensor_id} is on host {other} and on host {host}")
                first = sensor_at.setdefault((endpoint.address, endpoint.port), sensor_id)
                if first != sensor_id:
                    problems.append(
                        f"sensors {first} and {sensor_id} of host {host} are both at {endpoint.version}"
                    )
        return problems
