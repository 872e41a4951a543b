"""A host's load assignment: where each of its VMs is reached."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from envoy_data_plane.envoy.config.core.v3 import Address, Metadata, SocketAddress
from envoy_data_plane.envoy.config.endpoint.v3 import Endpoint, LbEndpoint
from envoy_data_plane.google.protobuf import Struct, Value

from control_plane.resources.model import Resource, new_resource
from wire.gen.gaugeway.envoy.v1 import endpoint_pb2
from wire.names import ENDPOINT_TYPE, SENSOR_DOMAIN, SUBSET_METADATA_KEY, host_cluster

_CACHED_ENDPOINTS: Final = 1 << 17
_CACHED_ASSIGNMENTS: Final = 1 << 12


@lru_cache(_CACHED_ASSIGNMENTS)
def load_assignment_resource(host_id: str, placed: tuple[tuple[str, str, int], ...]) -> Resource:
    """Return the load assignment of a host.

    Args:
        host_id: The host.
        placed: (sensor, address, port) of its VMs, sorted, so that equal fleets are equal bytes.
    """
    name = host_cluster(host_id)
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    if placed:
        message.endpoints.add(lb_endpoints=[encoded_endpoint(*each) for each in placed])
    return new_resource(ENDPOINT_TYPE, name, message.SerializeToString(deterministic=True))


@lru_cache(_CACHED_ENDPOINTS)
def encoded_endpoint(sensor_id: str, address: str, port: int) -> bytes:
    """Return the encoded LbEndpoint of one VM.

    Its hostname is the sensor's DNS name: the identity that a VM must prove.
    """
    endpoint = LbEndpoint(
        endpoint=Endpoint(
            address=Address(socket_address=SocketAddress(address=address, port_value=port)),
            hostname=f"{sensor_id}.{SENSOR_DOMAIN}",
        ),
        metadata=Metadata(
            filter_metadata={
                "envoy.lb": Struct(fields={SUBSET_METADATA_KEY: Value(string_value=sensor_id)}),
            }
        ),
    )
    return bytes(endpoint)
