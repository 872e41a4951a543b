"""What the ADS server counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from control_plane.resources.model import short_type
from control_plane.xds.type_rules import TYPE_ORDER


def type_label(type_url: str) -> str:
    """Return how a type is called in metrics. Clients may ask for any: those unknown share a name."""
    return short_type(type_url) if type_url in TYPE_ORDER else "other"


class XdsMetrics:
    """Counters of one ADS server, in `registry`.

    Types are the last word of their URL (`Cluster`), `other` for those that Gaugeway does not
    serve; roles are those of NodeKey, variants `delta` and `sotw`.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.connected = Gauge(
            "gaugeway_xds_connected_nodes", "Nodes with an open xDS stream.", ["role"], registry=registry
        )
        self.streams = Gauge(
            "gaugeway_xds_streams", "Open xDS streams.", ["role", "variant"], registry=registry
        )
        self.pushes = Counter(
            "gaugeway_xds_pushes", "Responses sent to nodes.", ["role", "type"], registry=registry
        )
        self.bytes = Counter(
            "gaugeway_xds_bytes", "Bytes of the responses sent to nodes.", ["role", "type"], registry=registry
        )
        self.nacks = Counter(
            "gaugeway_xds_nacks", "Responses that a node refused.", ["role", "type"], registry=registry
        )
        self.ack_seconds = Histogram(
            "gaugeway_xds_ack_seconds",
            "From sending a response to its ACK.",
            ["role", "type"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=registry,
        )
        self.slow = Counter(
            "gaugeway_xds_slow_clients",
            "Streams closed because the client did not read, or did not answer.",
            ["role"],
            registry=registry,
        )
        self.refused = Counter(
            "gaugeway_xds_refused_streams",
            "Streams refused or ended for what the client said: `node`, `limit`, `protocol`, `silent`.",
            ["reason"],
            registry=registry,
        )
