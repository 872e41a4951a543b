"""Where nodes stand: what they were sent and what they said to that, over all their streams. Pure."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from control_plane.xds.node import NodeKey
from control_plane.xds.session import TypeStatus

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """Where one node stands.

    Attributes:
        key: The node.
        connected_since_unix_ns: When its oldest stream began; None while it has none.
        metadata: What it last said of itself.
        types: By type URL, what it was sent and what it said to that, on its
            streams or, while it has none, on its last ones. Read-only live views:
            they hold until the next await.
        revision: The revision last published for it; None if none was.
    """

    key: NodeKey
    connected_since_unix_ns: int | None
    metadata: Mapping[str, Any]
    types: Mapping[str, TypeStatus]
    revision: int | None


@dataclass(slots=True)
class News:
    """What is new of one node.

    Attributes:
        streams: Whether a stream began or ended, or a type was asked for for the
            first time: then anything of the node may have changed.
        names: By type URL, the resources whose sent, acked or rejected changed.
    """

    streams: bool = False
    names: dict[str, set[str]] = field(default_factory=dict)


def joined(statuses: Iterable[Mapping[str, TypeStatus]]) -> dict[str, TypeStatus]:
    """Return what several streams of a node say, by type; of a name that two know, the later one's word."""
    found: dict[str, TypeStatus] = {}
    for status in statuses:
        for type_url, later in status.items():
            earlier = found.get(type_url)
            found[type_url] = later if earlier is None else _both(earlier, later)
    return found


def _both(earlier: TypeStatus, later: TypeStatus) -> TypeStatus:
    return TypeStatus(
        _view(later.sent, earlier.sent),
        _view(later.acked, earlier.acked),
        _view(later.rejected, earlier.rejected),
        max(later.acked_revision, earlier.acked_revision),
        _view(later.since, earlier.since),
        later.variant,
    )


def _view(first: Mapping[str, T], second: Mapping[str, T]) -> Mapping[str, T]:
    # Nobody writes: TypeStatus has them as read-only mappings.
    return ChainMap(cast("MutableMapping[str, T]", first), cast("MutableMapping[str, T]", second))
