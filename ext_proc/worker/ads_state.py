"""A Delta ADS client's state: what was accepted, and what to answer. Pure.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds
What was accepted outlives a stream: a reconnect says it in
initial_resource_versions, and while the control plane is away it stays in force.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wire.gen.gaugeway.envoy.v1 import discovery_pb2

_INVALID_ARGUMENT = 3  # google.rpc.Code


@dataclass(frozen=True, slots=True)
class Change:
    """One resource of a response: its new body, or None if it was removed."""

    name: str
    version: str
    body: bytes | None


class AdsState:
    """Versions accepted of each type, over all streams to the control plane."""

    def __init__(self, node: discovery_pb2.Node, types: Sequence[str]) -> None:
        self._node = node
        self._accepted: dict[str, dict[str, str]] = {type_url: {} for type_url in types}

    def first_requests(self) -> list[discovery_pb2.DeltaDiscoveryRequest]:
        """Return the requests that begin a stream: every resource of every type is wanted."""
        return [
            discovery_pb2.DeltaDiscoveryRequest(
                node=self._node,
                type_url=type_url,
                resource_names_subscribe=["*"],
                initial_resource_versions=versions,
            )
            for type_url, versions in self._accepted.items()
        ]

    @staticmethod
    def changes(response: discovery_pb2.DeltaDiscoveryResponse) -> list[Change]:
        """Return what a response asks for, removals first.

        A removal is passed on whether or not the resource was accepted: it may
        be under way.
        """
        removed = [Change(name, "", None) for name in response.removed_resources]
        put = [Change(entry.name, entry.version, entry.resource.value) for entry in response.resources]
        return [*removed, *put]

    def applied(self, type_url: str, change: Change) -> None:
        """Note that `change` is in force."""
        if change.body is None:
            self._accepted[type_url].pop(change.name, None)
        else:
            self._accepted[type_url][change.name] = change.version

    @staticmethod
    def answer(
        response: discovery_pb2.DeltaDiscoveryResponse, failures: Mapping[str, str]
    ) -> discovery_pb2.DeltaDiscoveryRequest:
        """Return the ACK of a response, or its NACK with a sentence for each resource in `failures`."""
        request = discovery_pb2.DeltaDiscoveryRequest(
            type_url=response.type_url, response_nonce=response.nonce
        )
        if failures:
            request.error_detail.code = _INVALID_ARGUMENT
            request.error_detail.message = "; ".join(failures.values())
        return request
