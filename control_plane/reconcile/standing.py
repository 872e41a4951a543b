"""Where a node stands with one resource: what it should run, was sent, runs and refuses. Pure.

States:
    live      it runs the version that it should
    warming   it was sent that version and has not said yet that it runs it: an Envoy
              takes a cluster once it has its endpoints, a worker a lease once it has written
    pending   it was not sent that version yet
    rejected  it refuses that version, or the resource was refused before it was sent
    removing  it runs a version of what it should not run any more, or is not known to run none
    absent    it asked by name for what there is not, and was told so
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from control_plane.node_model import RefusedBy, ResourceState
from control_plane.resources.model import Resource, Snapshot
from control_plane.xds.containment import ABSENT
from control_plane.xds.ledger import UNSTATED
from control_plane.xds.session import TypeStatus

_NONE: Final[Mapping[str, Resource]] = {}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A version that was refused: by the node, or by the pre-flight before the node saw it.

    `version` is None if it was the removal that was refused.
    """

    version: str | None
    error: str
    by: RefusedBy = "node"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a node stands with one resource.

    Attributes:
        type_url: Its type.
        name: Its name.
        wanted: The version that the node should run; None if it should run none.
        sent: The version that it was sent last, or said to have; None if neither.
        acked: The version that it is known to run; None if it is known to run none, or not known.
        refusal: What was refused of it.
        since_unix_ns: When it came into this state; None if that is not known.
        state: In one word.
    """

    type_url: str
    name: str
    wanted: str | None
    sent: str | None
    acked: str | None
    refusal: Refusal | None
    since_unix_ns: int | None
    state: ResourceState


Held = Mapping[tuple[str, str], Refusal]  # by type URL and name, what the pre-flight check keeps back
NOT_HELD: Final[Held] = {}


def standings(
    status: TypeStatus, type_url: str, snapshot: Snapshot | None, held: Held = NOT_HELD
) -> Iterator[Standing]:
    """Yield where a node stands with every resource of a type, by name."""
    wanted = _NONE if snapshot is None else snapshot.of(type_url)
    names = {*wanted, *status.sent, *status.acked, *status.rejected}
    for name in sorted(names.union(name for kind, name in held if kind == type_url)):
        yield standing(status, type_url, name, snapshot, held.get((type_url, name)))


def standing(
    status: TypeStatus | None,
    type_url: str,
    name: str,
    snapshot: Snapshot | None,
    held: Refusal | None = None,
) -> Standing:
    """Return where a node stands with one resource.

    Args:
        status: Where it stands with the type; None if it never asked for it.
        type_url: The type.
        name: The resource's name.
        snapshot: What was published for the node; None if nothing was yet. Then everything is
            pending: what it should run is not known, so nothing is to be removed either.
        held: Why a newer version was not published.
    """
    wanted = None if snapshot is None else snapshot.of(type_url).get(name)
    version = None if wanted is None else wanted.version
    if status is None:
        return _settled(Standing(type_url, name, version, None, None, None, None, "pending"), held)
    sent, acked = status.sent.get(name), status.acked.get(name)
    rejection = status.rejected.get(name)
    refusal = None if rejection is None else Refusal(rejection.version or None, rejection.error)
    known = Standing(
        type_url=type_url,
        name=name,
        wanted=version,
        sent=None if sent in {ABSENT, UNSTATED} else sent,
        acked=acked,
        refusal=refusal,
        since_unix_ns=status.since.get(name),
        state="pending" if snapshot is None else _state(version, sent, acked, refusal),
    )
    return _settled(known, held)


def _settled(known: Standing, held: Refusal | None) -> Standing:
    """Return a standing with what the node was spared, if there is such."""
    if held is None:
        return known
    return replace(known, wanted=held.version, refusal=held, state="rejected")


def _state(wanted: str | None, sent: str | None, acked: str | None, refusal: Refusal | None) -> ResourceState:
    if refusal is not None and refusal.version == wanted:
        return "rejected"
    if wanted is None:
        return "absent" if sent == ABSENT and acked is None else "removing"
    if acked == wanted:
        return "live"
    return "warming" if sent == wanted else "pending"
