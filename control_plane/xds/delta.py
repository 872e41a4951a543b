"""The Delta variant's messages, translated to and from the session's own. Pure."""

from __future__ import annotations

from typing import Final

from control_plane.resources.model import Resource
from control_plane.xds.messages import Request, Response
from control_plane.xds.rejection import reason
from wire.gen.gaugeway.envoy.v1 import discovery_pb2

_NS: Final = 1_000_000_000


def read_request(message: discovery_pb2.DeltaDiscoveryRequest) -> Request:
    """Return what a Delta request says."""
    return Request(
        type_url=message.type_url,
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        has=dict(message.initial_resource_versions),
        nonce=message.response_nonce,
        error=refusal(message),
    )


def refusal(message: discovery_pb2.DiscoveryRequest | discovery_pb2.DeltaDiscoveryRequest) -> str | None:
    """Return why a request refuses a response; None if it does not.

    A refusal is the presence of error_detail, never an inference from versions.
    """
    detail = message.error_detail
    return reason(detail.message, detail.code) if message.HasField("error_detail") else None


def write_response(response: Response, *, ttl: bool) -> discovery_pb2.DeltaDiscoveryResponse:
    """Return the Delta message of a response; `ttl`: whether the client understands times to live."""
    message = discovery_pb2.DeltaDiscoveryResponse(
        system_version_info=str(response.revision),
        type_url=response.type_url,
        nonce=response.nonce,
        removed_resources=response.removed,
    )
    for resource in response.put:
        fill(message.resources.add(), resource, ttl=ttl, body=resource.name not in response.beats)
    return message


def fill(entry: discovery_pb2.Resource, resource: Resource, *, ttl: bool, body: bool = True) -> None:
    """Write one resource into its message, with its time to live, without its body in a heartbeat."""
    entry.name, entry.version = resource.name, resource.version
    if body:
        entry.resource.type_url, entry.resource.value = resource.type_url, resource.body
    if ttl and resource.ttl_s is not None:
        entry.ttl.seconds, entry.ttl.nanos = divmod(round(resource.ttl_s * _NS), _NS)
