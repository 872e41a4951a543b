"""What client and server say to each other, in either variant. Values only. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, Literal

from control_plane.resources.model import Resource

Variant = Literal["delta", "sotw"]
MAX_NAMES: Final = 100_000  # of one type, on one stream
MAX_NAME: Final = 1_024  # characters of a name, of a type's URL and of a version


class ProtocolError(ValueError):
    """A request that breaks the xDS protocol; the text says which rule."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client says of one type.

    Attributes:
        type_url: The type.
        subscribe: Names to add to what is wanted; `*` is everything. In SotW: all that is wanted.
        unsubscribe: Names to drop from it; always empty in SotW.
        has: Versions that the client states to run (Delta); counts in the first request of a type only.
        nonce: Which response this answers; empty if none.
        error: Why that response is refused; None if it is not.
        version: The version_info of what the client last accepted (SotW); counts as `has` does.
    """

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    has: Mapping[str, str] = field(default_factory=dict)
    nonce: str = ""
    error: str | None = None
    version: str = ""

    @property
    def states(self) -> bool:
        """Whether the client states to run anything."""
        return bool(self.has or self.version)


def check_bounds(request: Request) -> None:
    """Raise ProtocolError for a request of more than any fleet needs: all of it would be remembered.

    It is looked at before anything is done: everybody waits while a request is taken.
    """
    for names in (request.subscribe, request.unsubscribe, request.has):
        check_count(len(names))
    words = (request.subscribe, request.unsubscribe, request.has, request.has.values())
    longest = max(map(len, chain(*words, (request.type_url, request.version))))
    if longest > MAX_NAME:
        raise ProtocolError(f"a name of {longest} characters: at most {MAX_NAME} are taken")


def check_count(names: int) -> None:
    """Raise ProtocolError for more names than any fleet has."""
    if names > MAX_NAMES:
        raise ProtocolError(f"more than {MAX_NAMES} names of one type")


@dataclass(frozen=True, slots=True)
class Response:
    """What to send.

    Attributes:
        type_url: The type.
        nonce: Names the response on its stream.
        put: Resources.
        removed: Names that are not there (any more); always empty in SotW.
        revision: Of the snapshot that it was made from.
        version: The version_info (SotW).
        beats: Names in `put` whose time to live alone is meant.
    """

    type_url: str
    nonce: str
    put: tuple[Resource, ...]
    removed: tuple[str, ...]
    revision: int
    version: str = ""
    beats: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Batch:
    """What one response says.

    Attributes:
        put: Resources; in SotW's full state all that the client should run.
        removed: Names that are not there (any more); in SotW never said.
        changed: Names put that the client is not known to run in this version.
        beats: Names put only so that their time to live begins anew.
        version: The fingerprint of what the client then has (SotW).
    """

    put: tuple[Resource, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...] = ()
    beats: frozenset[str] = frozenset()
    version: str = ""


@dataclass(frozen=True, slots=True)
class Settled:
    """A response that the client answered. `refused` names what it did not take, by its `error`."""

    type_url: str
    nonce: str
    refused: tuple[str, ...] = ()
    error: str | None = None
