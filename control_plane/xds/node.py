"""Who a client says it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import json_format

from wire.gen.gaugeway.envoy.v1 import discovery_pb2
from wire.ids import InvalidIdError, check_dns_label
from wire.names import ENVOY_ROLE, GATEWAY_PORT_METADATA, WORKER_ROLE

MAX_METADATA_BYTES: Final = 65_536
MAX_PORT: Final = 65_535
ROLES: Final = (ENVOY_ROLE, WORKER_ROLE)
# https://www.envoyproxy.io/docs/envoy/latest/api/client_features
TTL_FEATURE: Final = "xds.config.supports-resource-ttl"
WRAPPER_FEATURE: Final = "xds.config.resource-in-sotw"


class UnknownNodeError(ValueError):
    """A client does not say who it is; the text names the field and the rule."""


@dataclass(frozen=True, slots=True, order=True)
class NodeKey:
    """A node: its role (wire.names.ENVOY_ROLE or WORKER_ROLE) and its id."""

    role: str
    node_id: str


@dataclass(frozen=True, slots=True)
class Node:
    """A node with what it says of itself; `features` are xDS client features."""

    key: NodeKey
    metadata: Mapping[str, Any]
    features: frozenset[str] = frozenset()


def read_node(message: discovery_pb2.Node) -> Node:
    """Return who opened a stream. Raises UnknownNodeError."""
    key = checked_key(message.cluster, message.id)
    if message.metadata.ByteSize() > MAX_METADATA_BYTES:
        raise UnknownNodeError(f"node.metadata must be at most {MAX_METADATA_BYTES} bytes")
    try:
        metadata: dict[str, Any] = json_format.MessageToDict(message.metadata)
    except ValueError as error:  # a number that JSON does not have
        raise UnknownNodeError(f"node.metadata cannot be read: {error}") from error
    if key.role == ENVOY_ROLE:
        _check_port(metadata.get(GATEWAY_PORT_METADATA, 0))
    return Node(key, metadata, frozenset(message.client_features))


def checked_key(role: str, node_id: str) -> NodeKey:
    """Return a node's key. Raises UnknownNodeError."""
    if role not in ROLES:
        raise UnknownNodeError(f"node.cluster {role!r} must be one of {', '.join(ROLES)}")
    if not node_id:
        raise UnknownNodeError("node.id is empty: it must tell this node from all others")
    try:
        check_dns_label("node.id", node_id)
    except InvalidIdError as error:
        raise UnknownNodeError(str(error)) from error
    return NodeKey(role, node_id)


def _check_port(port: object) -> None:
    if isinstance(port, bool) or not isinstance(port, float | int) or not _is_port(port):
        raise UnknownNodeError(
            f"node.metadata.{GATEWAY_PORT_METADATA} must be a whole number from 0 (chosen by the system) "
            f"to {MAX_PORT}, not {str(port)[:40]}"
        )


def _is_port(number: float) -> bool:
    return 0 <= number <= MAX_PORT and number == int(number)
