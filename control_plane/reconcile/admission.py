"""Which part of a snapshot may be published, as the pre-flight check has it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from control_plane.reconcile.preflight_memory import Name, Verdict
from control_plane.resources.model import Resource, Snapshot, short_type
from envoy_bootstrap.validation import VALIDATED_TYPES


class Checks(Protocol):
    """What is known of resources (control_plane.reconcile.preflight.Preflight)."""

    def verdict(self, resource: Resource) -> Verdict:
        """Return what is known of one; find out if nothing is."""
        ...

    def ever_passed(self, type_url: str, name: str) -> bool:
        """Whether any version of it passed."""
        ...


@dataclass(frozen=True, slots=True)
class Admission:
    """What may be published.

    Attributes:
        snapshot: What was wanted, with what a node had before in place of what
            is held back; None: wait, and leave the node as it is.
        held: Why each resource (type URL, name) is held back.
    """

    snapshot: Snapshot | None
    held: Mapping[Name, Verdict]


def admit(wanted: Snapshot, before: Snapshot | None, checks: Checks) -> Admission:
    """Return what of a consistent snapshot may be published now.

    A resource that is pending or refused stays as it was in `before`; a new one
    is left out until it passes. Two cases are different, because leaving out is
    removing for an Envoy that runs an older version:

    - Nothing was published yet (a control plane that was restarted) and a
      verdict is pending: the node waits for the verdict, some 50 ms.
    - What was published before is not known, but some version passed once:
      a refused one goes out, for Envoy keeps what it runs and says why.
      One that Envoy would die of does not.

    Args:
        wanted: What the node should run.
        before: What was last published to it (Admission.snapshot).
        checks: The pre-flight check.
    """
    held = {
        (resource.type_url, resource.name): verdict
        for resource, old in _changed(wanted, before)
        if not _goes_out(resource, old, verdict := checks.verdict(resource), checks)
    }
    if not held:
        return Admission(wanted, {})
    if before is None and any(verdict.state == "pending" for verdict in held.values()):
        return Admission(None, held)
    return Admission(*_without(wanted, before or Snapshot({}), held))


def _changed(wanted: Snapshot, before: Snapshot | None) -> list[tuple[Resource, Resource | None]]:
    """Return (new, old) of every resource that can be checked and is not as it was."""
    changed = []
    for type_url, names in wanted.changed_since(before).items():
        if type_url in VALIDATED_TYPES:
            for name in sorted(names):
                new = wanted.of(type_url).get(name)
                old = None if before is None else before.of(type_url).get(name)
                if new is not None and (old is None or old.version != new.version):
                    changed.append((new, old))
    return changed


def _goes_out(resource: Resource, old: Resource | None, verdict: Verdict, checks: Checks) -> bool:
    if verdict.may_go_out:
        return True
    unknown = old is None and checks.ever_passed(resource.type_url, resource.name)
    return unknown and verdict.state == "refused" and not verdict.deadly


def _without(
    wanted: Snapshot, before: Snapshot, held: Mapping[Name, Verdict]
) -> tuple[Snapshot, Mapping[Name, Verdict]]:
    """Return the snapshot without what is held, still consistent, and what is held in all."""
    held = {**held, **_needing(wanted, before, held)}
    put: dict[Name, Resource] = {}
    removed = set(held)
    for type_url, name in held:
        old = before.of(type_url).get(name)
        if old is not None:
            put[type_url, name] = old
            removed.discard((type_url, name))
            for needed_type, needed in old.references:
                if needed not in wanted.of(needed_type) and needed in before.of(needed_type):
                    put[needed_type, needed] = before.of(needed_type)[needed]
    return wanted.with_changes(put.values(), removed), held


def _needing(wanted: Snapshot, before: Snapshot, held: Mapping[Name, Verdict]) -> dict[Name, Verdict]:
    """Return what cannot go out because it needs what is held and was not there before.

    Nothing needs what needs something: listeners need routes, clusters need assignments.
    """
    gone = {(type_url, name) for type_url, name in held if name not in before.of(type_url)}
    return {
        (type_url, name): Verdict(held[needed].state, f"it needs {short_type(needed[0])} {needed[1]}")
        for type_url in VALIDATED_TYPES
        for name, resource in wanted.of(type_url).items()
        if (type_url, name) not in held
        for needed in resource.references
        if needed in gone
    }
