"""Resources and snapshots: what one node should run, as immutable values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

_VERSION_DIGITS: Final = 16


class InconsistentSnapshotError(ValueError):
    """A snapshot that no node may see. `problems` holds a sentence for each reason."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True, slots=True)
class Resource:
    """One xDS resource, encoded.

    Attributes:
        name: Its name among those of its type.
        type_url: `type.googleapis.com/<message>`.
        version: The hash of its content, so it survives restarts and agrees between replicas.
        body: The encoded message.
        references: (type_url, name) of the resources that it cannot work without.
    """

    name: str
    type_url: str
    version: str
    body: bytes
    references: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that one node should run: `{type_url: {name: Resource}}`, read-only."""

    resources: Mapping[str, Mapping[str, Resource]]

    def of(self, type_url: str) -> Mapping[str, Resource]:
        """Return the resources of a type by name; none for a type that is not there."""
        return self.resources.get(type_url, _NOTHING)


_NOTHING: Final[Mapping[str, Resource]] = MappingProxyType({})


def new_resource(
    type_url: str, name: str, body: bytes, references: tuple[tuple[str, str], ...] = ()
) -> Resource:
    """Return a resource whose version is the first 16 hexadecimal digits of SHA-256 of `body`.

    Equal content must be encoded to equal bytes: sort maps before encoding.
    """
    version = hashlib.sha256(body).hexdigest()[:_VERSION_DIGITS]
    return Resource(name, type_url, version, body, references)


def new_snapshot(resources: Iterable[Resource], types: Iterable[str]) -> Snapshot:
    """Return a snapshot with `types`, each present even when it has no resource.

    Raises InconsistentSnapshotError if a name occurs twice in a type: Envoy
    refuses a response that says a name twice.
    """
    by_type: dict[str, dict[str, Resource]] = {type_url: {} for type_url in types}
    doubled: list[str] = []
    for resource in resources:
        of_type = by_type.setdefault(resource.type_url, {})
        if resource.name in of_type:
            doubled.append(f"{short_type(resource.type_url)} {resource.name} occurs twice")
        of_type[resource.name] = resource
    if doubled:
        raise InconsistentSnapshotError(doubled)
    return Snapshot(MappingProxyType({key: MappingProxyType(value) for key, value in by_type.items()}))


def check_consistent(snapshot: Snapshot) -> None:
    """Raise InconsistentSnapshotError unless every reference is met and every name is its resource's own.

    A cluster refers to its load assignment, a listener to its routes: without
    them Envoy would keep it warming until a timeout.
    """
    problems: list[str] = []
    for type_url, resources in snapshot.resources.items():
        for name, resource in resources.items():
            if resource.name != name or resource.type_url != type_url:
                problems.append(
                    f"{short_type(type_url)} {name} holds {short_type(resource.type_url)} {resource.name}"
                )
            problems += [
                f"{short_type(type_url)} {name} needs {short_type(wanted_type)} {wanted}, which is not there"
                for wanted_type, wanted in resource.references
                if wanted not in snapshot.of(wanted_type)
            ]
    if problems:
        raise InconsistentSnapshotError(problems)


def short_type(type_url: str) -> str:
    """Return the last word of a type URL: `Cluster`, `ShardLease`."""
    return type_url.rpartition(".")[2]
