"""Resources and snapshots: what one node should run, as immutable values."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from wire.names import CLUSTER_TYPE, LISTENER_TYPE

_VERSION_DIGITS: Final = 16
_REFERRING: Final = frozenset({CLUSTER_TYPE, LISTENER_TYPE})  # of these there are few: one for each host


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
        ttl_s: How long a client that understands it may keep the resource without
            hearing of it again; None: for ever. Not part of the version.
    """

    name: str
    type_url: str
    version: str
    body: bytes
    references: tuple[tuple[str, str], ...] = ()
    ttl_s: float | None = None


class _Mark:
    """Tells one snapshot from all others without keeping it in memory."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that one node should run: `{type_url: {name: Resource}}`, read-only."""

    resources: Mapping[str, Mapping[str, Resource]]
    _mark: _Mark = field(default_factory=_Mark, repr=False, compare=False)
    _base: _Mark | None = field(default=None, repr=False, compare=False)
    _changed: Mapping[str, Collection[str]] = field(default_factory=dict, repr=False, compare=False)

    def of(self, type_url: str) -> Mapping[str, Resource]:
        """Return the resources of a type by name; none for a type that is not there."""
        return self.resources.get(type_url, _NOTHING)

    def with_changes(self, put: Iterable[Resource], removed: Iterable[tuple[str, str]] = ()) -> Snapshot:
        """Return a snapshot that has `put` and lacks `removed`, each (type_url, name).

        Types without a change are shared with it; it knows what it changed.
        """
        changed: dict[str, dict[str, Resource | None]] = {}
        for type_url, name in removed:
            changed.setdefault(type_url, {})[name] = None
        for resource in put:
            changed.setdefault(resource.type_url, {})[resource.name] = resource
        resources = dict(self.resources)
        for type_url, changes in changed.items():
            of_type = dict(self.of(type_url))
            for name, each in changes.items():
                if each is None:
                    of_type.pop(name, None)
                else:
                    of_type[name] = each
            resources[type_url] = MappingProxyType(of_type)
        names = {type_url: frozenset(changes) for type_url, changes in changed.items()}
        return Snapshot(MappingProxyType(resources), _base=self._mark, _changed=names)

    def changed_since(self, old: Snapshot | None) -> Mapping[str, Collection[str]]:
        """Return, by type URL, the names whose resource may differ from `old`; of every type if it is None.

        What `old.with_changes` has just made knows the answer; others are compared.
        """
        if old is self:
            return {}
        if old is not None and self._base is old._mark:  # another of our own kind
            return self._changed
        types = self.resources.keys() if old is None else self.resources.keys() | old.resources.keys()
        return {
            type_url: _differing(_NOTHING if old is None else old.of(type_url), self.of(type_url))
            for type_url in types
        }


_NOTHING: Final[Mapping[str, Resource]] = MappingProxyType({})


def _differing(old: Mapping[str, Resource], new: Mapping[str, Resource]) -> set[str]:
    changed = {name for name, resource in new.items() if old.get(name) is not resource}
    changed.update(old.keys() - new.keys())
    return changed


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


def check_consistent(snapshot: Snapshot, since: Snapshot | None = None) -> None:
    """Raise InconsistentSnapshotError unless every reference is met and every name is its resource's own.

    A cluster refers to its load assignment, a listener to its routes: without
    them Envoy would keep it warming until a timeout. Of a snapshot made from one
    that was checked (`since`), only what changed is looked at, and what refers to it.
    """
    problems: list[str] = []
    gone: set[tuple[str, str]] = set()
    for type_url, names in snapshot.changed_since(since).items():
        resources = snapshot.of(type_url)
        for name in sorted(names):
            resource = resources.get(name)
            if resource is None:
                gone.add((type_url, name))
            else:
                problems += _problems(snapshot, type_url, name, resource)
    if gone:
        problems += _dangling(snapshot, gone)
    if problems:
        raise InconsistentSnapshotError(dict.fromkeys(problems))


def _problems(snapshot: Snapshot, type_url: str, name: str, resource: Resource) -> list[str]:
    problems = []
    if resource.name != name or resource.type_url != type_url:
        problems.append(
            f"{short_type(type_url)} {name} holds {short_type(resource.type_url)} {resource.name}"
        )
    for wanted_type, wanted in resource.references:
        if wanted not in snapshot.of(wanted_type):
            problems.append(_missing(type_url, name, wanted_type, wanted))
    return problems


def _dangling(snapshot: Snapshot, gone: set[tuple[str, str]]) -> list[str]:
    """Return what still refers to resources that went."""
    return [
        _missing(type_url, name, *wanted)
        for type_url, resources in snapshot.resources.items()
        if type_url in _REFERRING
        for name, resource in resources.items()
        for wanted in resource.references
        if wanted in gone
    ]


def _missing(type_url: str, name: str, wanted_type: str, wanted: str) -> str:
    return f"{short_type(type_url)} {name} needs {short_type(wanted_type)} {wanted}, which is not there"


def short_type(type_url: str) -> str:
    """Return the last word of a type URL: `Cluster`, `ShardLease`."""
    return type_url.rpartition(".")[2]
