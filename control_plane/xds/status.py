"""Where nodes stand: what they were sent and what they said to that, over all their streams. Pure."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
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
    by_type: dict[str, list[TypeStatus]] = {}
    for status in statuses:
        for type_url, of_type in status.items():
            by_type.setdefault(type_url, []).insert(0, of_type)
    return {type_url: found[0] if len(found) == 1 else _one(found) for type_url, found in by_type.items()}


def _one(latest_first: Sequence[TypeStatus]) -> TypeStatus:
    return TypeStatus(
        _view(each.sent for each in latest_first),
        _view(each.acked for each in latest_first),
        _view(each.rejected for each in latest_first),
        max(each.acked_revision for each in latest_first),
        _view(each.since for each in latest_first),
        latest_first[0].variant,
    )


def _view(maps: Iterable[Mapping[str, T]]) -> Mapping[str, T]:
    # One level, however many streams. Nobody writes: TypeStatus has them as read-only mappings.
    return ChainMap(*(cast("MutableMapping[str, T]", each) for each in maps))
