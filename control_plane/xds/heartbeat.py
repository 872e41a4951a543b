"""When resources with a time to live must be heard of again. Pure.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#time-to-live-ttl
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from control_plane.resources.model import Resource

_NS = 1_000_000_000


class Heartbeats:
    """The times to live of one type on one stream. Each is renewed when half of it has passed."""

    def __init__(self, *, understood: bool) -> None:
        """`understood`: whether the client knows of them; else there are none."""
        self._understood = understood
        self._at: dict[str, int] = {}  # Unix ns
        self._beating: set[str] = set()

    @property
    def next(self) -> int | None:
        """When the next is due (Unix ns); None if there is none."""
        return min(self._at.values(), default=None)

    def resume(self, held: Iterable[Resource | None], now: int) -> None:
        """Renew at once what the client has from before: nobody knows how much of its time has passed."""
        if self._understood:
            self._at.update((each.name, now) for each in held if each is not None and each.ttl_s is not None)

    def due(self, now: int) -> list[str]:
        """Return the names to renew now, each once."""
        due = [name for name, at in self._at.items() if at <= now]
        for name in due:
            del self._at[name]
        self._beating.update(due)
        return due

    def sent(self, told: Mapping[str, Resource | None], changed: Collection[str], now: int) -> frozenset[str]:
        """Note what was sent; return which of it is a mere heartbeat."""
        beats = {name for name in self._beating.intersection(told) if name not in changed}
        for name, resource in told.items():
            self._beating.discard(name)
            if resource is None or resource.ttl_s is None or not self._understood:
                self._at.pop(name, None)
            else:
                self._at[name] = now + int(resource.ttl_s * _NS / 2)
        return frozenset(beats)

    def forget(self, name: str) -> None:
        """Renew a name no more."""
        self._at.pop(name, None)
        self._beating.discard(name)
