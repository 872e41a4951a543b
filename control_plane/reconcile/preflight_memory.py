"""What is known of resources before any Envoy sees them. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from control_plane.resources.model import Resource
from envoy_bootstrap.validation import VALIDATED_TYPES

MAX_KNOWN: Final = 1 << 14  # clusters and listeners of more hosts and Envoys than one control plane has
MAX_WAITING: Final = 1 << 12
MAX_BATCH: Final = 256
MAX_BATCH_BYTES: Final = 4 << 20

Key = tuple[str, str, str]  # type URL, name, version
Name = tuple[str, str]  # type URL, name


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of one resource in one version.

    Attributes:
        state: `passed`, `refused`, `pending` (it is going to be checked), or
            `skipped` (it could not be checked, and may go out without).
        reason: Why it was refused, in Envoy's words, or skipped.
        deadly: Envoy did not refuse but die of it.
    """

    state: Literal["passed", "refused", "pending", "skipped"]
    reason: str = ""
    deadly: bool = False

    @property
    def may_go_out(self) -> bool:
        """Whether Envoys may be given it."""
        return self.state in {"passed", "skipped"}


PASSED: Final = Verdict("passed")
PENDING: Final = Verdict("pending")
_TOO_MANY: Final = Verdict("skipped", f"more than {MAX_WAITING} others wait to be checked")


class PreflightMemory:
    """Verdicts by (type, name, version), the ones that nobody asks for forgotten first."""

    def __init__(self, max_known: int = MAX_KNOWN, max_waiting: int = MAX_WAITING) -> None:
        self._max_known = max_known
        self._max_waiting = max_waiting
        self._known: OrderedDict[Key, Verdict] = OrderedDict()
        self._waiting: dict[Key, Resource] = {}
        self._names: OrderedDict[Name, None] = OrderedDict()  # of what ever passed

    @property
    def waiting(self) -> int:
        """How many resources are to be checked."""
        return len(self._waiting)

    def verdict(self, resource: Resource) -> Verdict:
        """Return what is known of a resource; one that is not known is to be checked from now on.

        A type that Envoy cannot check (VALIDATED_TYPES) has passed.
        """
        if resource.type_url not in VALIDATED_TYPES:
            return PASSED
        key = _key(resource)
        known = self._known.get(key)
        if known is not None:
            self._note(key, known)
            return known
        if key not in self._waiting:
            if len(self._waiting) >= self._max_waiting:
                return _TOO_MANY
            self._waiting[key] = resource
        return PENDING

    def batch(self) -> tuple[Resource, ...]:
        """Return the resources to check next, in one run: in the order of asking, no name of a type twice."""
        chosen: dict[Name, Resource] = {}
        size = 0
        for resource in self._waiting.values():
            size += len(resource.body)
            if chosen and (size > MAX_BATCH_BYTES or len(chosen) == MAX_BATCH):
                break
            chosen.setdefault((resource.type_url, resource.name), resource)
        return tuple(chosen.values())

    def settle(self, resources: Iterable[Resource], verdict: Verdict) -> None:
        """Note the verdict on resources."""
        for resource in resources:
            key = _key(resource)
            self._waiting.pop(key, None)
            self._note(key, verdict)

    def recall(self, passed: Iterable[Key], *, valid: bool) -> None:
        """Take up what passed in an earlier life; not `valid`: it was another Envoy that judged."""
        for key in passed:
            if valid:
                self._note(key, PASSED)
            else:
                self._note_name(key[:2])

    def ever_passed(self, type_url: str, name: str) -> bool:
        """Whether any version of a resource passed: then an Envoy may run one."""
        return (type_url, name) in self._names

    def passed(self) -> list[Key]:
        """Return what passed, what was asked for last at the end."""
        return [key for key, verdict in self._known.items() if verdict.state == "passed"]

    def _note(self, key: Key, verdict: Verdict) -> None:
        self._known[key] = verdict
        self._known.move_to_end(key)
        while len(self._known) > self._max_known:
            self._known.popitem(last=False)
        if verdict.state == "passed":
            self._note_name(key[:2])

    def _note_name(self, name: Name) -> None:
        self._names[name] = None
        self._names.move_to_end(name)
        while len(self._names) > self._max_known:
            self._names.popitem(last=False)


def _key(resource: Resource) -> Key:
    return resource.type_url, resource.name, resource.version
