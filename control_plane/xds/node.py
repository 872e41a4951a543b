"""Who a client says it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from wire.names import ENVOY_ROLE, WORKER_ROLE

ROLES: Final = (ENVOY_ROLE, WORKER_ROLE)


class UnknownNodeError(ValueError):
    """A client does not say who it is; the text names the field and the rule."""


@dataclass(frozen=True, slots=True, order=True)
class NodeKey:
    """A node: its role (wire.names.ENVOY_ROLE or WORKER_ROLE) and its id."""

    role: str
    node_id: str


@dataclass(frozen=True, slots=True)
class Node:
    """A node with what it says of itself."""

    key: NodeKey
    metadata: Mapping[str, Any]


def checked_node(role: str, node_id: str, metadata: Mapping[str, Any]) -> Node:
    """Return a node. Raises UnknownNodeError."""
    if role not in ROLES:
        raise UnknownNodeError(f"node.cluster {role!r} must be one of {', '.join(ROLES)}")
    if not node_id:
        raise UnknownNodeError("node.id is empty: it must tell this node from all others")
    return Node(NodeKey(role, node_id), metadata)
