"""The Delta variant's messages, translated to and from the session's own. Pure."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from control_plane.xds.node import Node, checked_node
from control_plane.xds.session import Request, Response
from wire.gen.gaugeway.envoy.v1 import discovery_pb2


def read_request(message: discovery_pb2.DeltaDiscoveryRequest) -> Request:
    """Return what a Delta request says."""
    return Request(
        type_url=message.type_url,
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        has=dict(message.initial_resource_versions),
        nonce=message.response_nonce,
        # A refusal is the presence of error_detail, never an inference from versions.
        error=message.error_detail.message if message.HasField("error_detail") else None,
    )


def read_node(message: discovery_pb2.DeltaDiscoveryRequest) -> Node:
    """Return who opened the stream. Raises UnknownNodeError."""
    metadata: dict[str, Any] = json_format.MessageToDict(message.node.metadata)
    return checked_node(message.node.cluster, message.node.id, metadata)


def write_response(response: Response) -> discovery_pb2.DeltaDiscoveryResponse:
    """Return the Delta message of a response."""
    message = discovery_pb2.DeltaDiscoveryResponse(
        system_version_info=str(response.revision),
        type_url=response.type_url,
        nonce=response.nonce,
        removed_resources=response.removed,
    )
    for resource in response.put:
        entry = message.resources.add(name=resource.name, version=resource.version)
        entry.resource.type_url, entry.resource.value = resource.type_url, resource.body
    return message
