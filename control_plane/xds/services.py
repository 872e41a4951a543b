"""The discovery services: one for all types, and one for each of Envoy's. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from wire.names import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE, SECRET_TYPE

_PREFIX: Final = "envoy.service."


@dataclass(frozen=True, slots=True)
class Service:
    """One gRPC service with a method `Stream<noun>` (SotW) and a method `Delta<noun>`.

    Attributes:
        name: Its full name.
        noun: What its methods are called after.
        type_url: The only type that its streams are about; None: any.
        single: Whether a client has one stream of it: another one replaces that.
            Of those that name resources, Envoy opens a stream for each cluster or listener.
    """

    name: str
    noun: str
    type_url: str | None
    single: bool


AGGREGATED: Final = Service(
    _PREFIX + "discovery.v3.AggregatedDiscoveryService", "AggregatedResources", None, single=True
)
SERVICES: Final = (
    AGGREGATED,
    Service(_PREFIX + "cluster.v3.ClusterDiscoveryService", "Clusters", CLUSTER_TYPE, single=True),
    Service(_PREFIX + "endpoint.v3.EndpointDiscoveryService", "Endpoints", ENDPOINT_TYPE, single=False),
    Service(_PREFIX + "listener.v3.ListenerDiscoveryService", "Listeners", LISTENER_TYPE, single=True),
    Service(_PREFIX + "route.v3.RouteDiscoveryService", "Routes", ROUTE_TYPE, single=False),
    Service(_PREFIX + "secret.v3.SecretDiscoveryService", "Secrets", SECRET_TYPE, single=False),
)
