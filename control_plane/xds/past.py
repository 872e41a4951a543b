"""What is remembered of one type of a node when a stream is over, for its next one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from control_plane.resources.model import Resource
from control_plane.xds.rejection import Rejection

T = TypeVar("T")
MAX_REMEMBERED: Final = 200_000  # of one type of a node; beyond it, older streams are forgotten


@dataclass(frozen=True, slots=True)
class Past:
    """One type, as one stream or several left it. Mappings are by resource name.

    Attributes:
        unsettled: What the client may run without stating it: the version sent
            last, or ABSENT where even its stating that version proves nothing.
        unanswered: Resources of responses that had no answer: the client may be warming them,
            and state to run them.
        rejected: What it refused.
        kept: The last accepted resource where it is not the newest one.
        acked: What it was known to run.
        since: Unix ns when each came into that state.
        statements: By SotW version_info, the versions that a client with it has.
    """

    unsettled: Mapping[str, str] = field(default_factory=dict)
    unanswered: Mapping[str, tuple[Resource, ...]] = field(default_factory=dict)
    rejected: Mapping[str, Rejection] = field(default_factory=dict)
    kept: dict[str, Resource] = field(default_factory=dict)
    acked: Mapping[str, str] = field(default_factory=dict)
    since: Mapping[str, int] = field(default_factory=dict)
    statements: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def since_of(self, name: str, version: str) -> int | None:
        """Return since when the client runs this version; None if it did not."""
        return self.since.get(name) if self.acked.get(name) == version else None

    def change(self, names: Iterable[str], before: Mapping[str, Resource]) -> None:
        """Note that `names` have changed since: of what was accepted, the resource is kept."""
        for name in names:
            resource = before.get(name)
            if resource is not None and self.acked.get(name) == resource.version:
                self.kept[name] = resource

    def after(self, older: Past | None, covers: Callable[[str], bool]) -> Past:
        """Return both: what only `older` knows is of other streams of the same type.

        Of what this stream's interest `covers`, it alone knows the truth.
        """
        if older is None or len(older.acked) + len(older.unsettled) > MAX_REMEMBERED:
            return self

        def joined(old: Mapping[str, T], new: Mapping[str, T]) -> dict[str, T]:
            return {**{name: value for name, value in old.items() if not covers(name)}, **new}

        return Past(
            joined(older.unsettled, self.unsettled),
            self.unanswered,
            joined(older.rejected, self.rejected),
            joined(older.kept, self.kept),
            joined(older.acked, self.acked),
            joined(older.since, self.since),
            self.statements or older.statements,
        )
