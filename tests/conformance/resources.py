"""Resources of the conformance suite: their bodies tell what they are, whatever the type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.resources.model import Resource, Snapshot, new_snapshot

MARKER: Final = "marker"  # a type of the suite's own, to prove silence with
MARKERS: Final = 40
TYPES: Final = {
    "cds": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "eds": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    "lds": "type.googleapis.com/envoy.config.listener.v3.Listener",
    "rds": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    "sds": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
    "policy": "type.googleapis.com/gaugeway.config.v1.WindowPolicy",
    "lease": "type.googleapis.com/gaugeway.config.v1.ShardLease",
    "sensor": "type.googleapis.com/gaugeway.config.v1.SensorAssignment",
    MARKER: "type.googleapis.com/gaugeway.test.Marker",
}
ALIASES: Final = {type_url: alias for alias, type_url in TYPES.items()}
FULL_STATE: Final = frozenset({"cds", "lds"})  # what SotW says in full each time

Fleet = Mapping[str, Mapping[str, str]]  # {alias: {name: version}}


def resource(alias: str, name: str, version: str) -> Resource:
    """Return a resource of that version."""
    return Resource(name, TYPES[alias], version, f"{name}@{version}".encode())


def content(body: bytes) -> tuple[str, str]:
    """Return name and version of a resource's body."""
    name, _, version = body.decode().partition("@")
    return name, version


def snapshot(fleet: Fleet) -> Snapshot:
    """Return the snapshot of a fleet, with all types and the markers."""
    made = [
        resource(alias, name, version)
        for alias, of_type in fleet.items()
        for name, version in of_type.items()
    ]
    made += [resource(MARKER, f"marker-{number}", "1") for number in range(1, MARKERS + 1)]
    return new_snapshot(made, TYPES.values())
