"""The State-of-the-World variant's messages, translated to and from the session's own. Pure."""

from __future__ import annotations

from typing import Final

from control_plane.resources.model import Resource
from control_plane.xds.delta import fill, refusal
from control_plane.xds.messages import Request, Response
from wire.gen.gaugeway.envoy.v1 import discovery_pb2

# A resource with a time to live travels in the message that Delta uses for each.
_WRAPPER: Final = "type.googleapis.com/envoy.service.discovery.v3.Resource"


def read_request(message: discovery_pb2.DiscoveryRequest) -> Request:
    """Return what a SotW request says."""
    return Request(
        type_url=message.type_url,
        subscribe=tuple(message.resource_names),
        nonce=message.response_nonce,
        error=refusal(message),
        version=message.version_info,
    )


def write_response(response: Response, *, ttl: bool) -> discovery_pb2.DiscoveryResponse:
    """Return the SotW message of a response.

    Args:
        response: What to say. Heartbeats repeat their resource: what is left out
            of a full state would be gone.
        ttl: Whether the client understands times to live.
    """
    message = discovery_pb2.DiscoveryResponse(
        version_info=response.version, type_url=response.type_url, nonce=response.nonce
    )
    for resource in response.put:
        if ttl and resource.ttl_s is not None:
            message.resources.add(type_url=_WRAPPER, value=_wrapped(resource))
        else:
            message.resources.add(type_url=resource.type_url, value=resource.body)
    return message


def _wrapped(resource: Resource) -> bytes:
    entry = discovery_pb2.Resource()
    fill(entry, resource, ttl=True)
    return entry.SerializeToString(deterministic=True)
