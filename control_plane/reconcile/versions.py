"""What each version of a host's endpoints holds. Pure.

Nodes say which version they run; what that means is remembered here for as
long as some Envoy may run it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from hyperv.model import Endpoint

_KEPT: Final = 20  # of each host: more than can be under way to an Envoy (MAX_IN_FLIGHT)


class EndpointVersions:
    """The newest versions of each host's endpoints, and those that were asked for last."""

    def __init__(self) -> None:
        self._contents: dict[str, OrderedDict[str, Mapping[str, Endpoint]]] = {}

    def remember(self, host: str, version: str, placed: Mapping[str, Endpoint]) -> None:
        """Note what a version holds; a copy is kept."""
        known = self._contents.setdefault(host, OrderedDict())
        if version not in known:
            known[version] = dict(placed)
        known.move_to_end(version)
        while len(known) > _KEPT:
            known.popitem(last=False)

    def content(self, host: str, version: str | None) -> Mapping[str, Endpoint] | None:
        """Return what a version holds; None if that is not known."""
        known = self._contents.get(host)
        if known is None or version is None or version not in known:
            return None
        known.move_to_end(version)
        return known[version]

    def forget(self, host: str) -> None:
        """Drop a host that is gone."""
        self._contents.pop(host, None)
