"""Which names of one type a client wants. Pure.

Delta clients say what is added and dropped, SotW clients repeat all of it:
https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#how-the-client-specifies-what-resources-to-return
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

WILDCARD: Final = "*"


@dataclass(slots=True)
class Interest:
    """What is wanted.

    Attributes:
        wildcard: Whether whatever there is.
        names: What is wanted by name.
    """

    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    _named: bool = False  # whether anything was ever named: then naming nothing means nothing

    def covers(self, name: str) -> bool:
        """Whether `name` is wanted."""
        return self.wildcard or name in self.names

    def begin(self, names: Collection[str], *, legacy_wildcard: bool) -> None:
        """Take the first request of a stream; `legacy_wildcard`: whether naming nothing means everything."""
        self._named = bool(names)
        self.wildcard = WILDCARD in names or (legacy_wildcard and not names)
        self.names = set(names) - {WILDCARD}

    def add(self, names: Collection[str]) -> None:
        """Want `names` too. A legacy wildcard stays one."""
        self.wildcard = self.wildcard or WILDCARD in names
        self.names.update(name for name in names if name != WILDCARD)

    def drop(self, names: Collection[str]) -> None:
        """Want `names` no more, unless the wildcard covers them."""
        if WILDCARD in names:
            self.wildcard = False
        self.names.difference_update(names)

    def replace(self, names: Collection[str]) -> tuple[set[str], set[str]]:
        """Want exactly `names`; return which names came and which went, `*` among them."""
        if not names and not self._named:
            return set(), set()
        self._named = True
        before = self.names | ({WILDCARD} if self.wildcard else set())
        after = set(names)
        if before != after:
            self.wildcard, self.names = WILDCARD in after, after - {WILDCARD}
        return after - before, before - after
