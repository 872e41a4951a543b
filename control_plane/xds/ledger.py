"""What one client has of one type, as far as it was told and as far as it confirmed. Pure."""

from __future__ import annotations

from typing import Final

from control_plane.xds.containment import ABSENT
from control_plane.xds.fingerprint import Fingerprint

UNSTATED: Final = "?"  # no version: the client may run something of that name


class Ledger:
    """Versions by resource name.

    Attributes:
        sent: The newest version sent on this stream, or stated by the client when
            the stream began; ABSENT if it was told that there is none.
        acked: The version that the client is known to run.
        since: The Unix ns when each came into its present state.
        news: Names of which something changed; whoever reads them clears it.
        edits: How often something changed.
    """

    def __init__(self, *, prints: bool) -> None:
        """`prints`: whether the version of everything together is asked for (SotW)."""
        self.sent: dict[str, str] = {}
        self.acked: dict[str, str] = {}
        self.since: dict[str, int] = {}
        self.news: set[str] = set()
        self.edits = 0
        self._doubtful: dict[str, str] = {}  # what it states, but may run another version of
        self._print = Fingerprint() if prints else None

    @property
    def version(self) -> str:
        """The version of everything that was sent; empty where none is asked for."""
        return "" if self._print is None else str(self._print)

    @property
    def states(self) -> dict[str, str]:
        """What the client states to run, or has confirmed."""
        doubtful = {name: version for name, version in self._doubtful.items() if version != UNSTATED}
        return {**doubtful, **self.acked}

    def doubt(self, name: str, stated: str) -> None:
        """Note that the client may run another version of a name than it states (ABSENT: none)."""
        self.sent[name] = UNSTATED
        self._doubtful[name] = stated or UNSTATED

    def believe(self, name: str, version: str, since: int) -> None:
        """Note that the client states to run a version."""
        self.acked[name], self.since[name] = version, since
        self._set(name, version, named=True)

    def tell(self, name: str, version: str, now: int, *, named: bool) -> None:
        """Note that a version was sent; `named`: asked for by name, so that its absence is worth knowing."""
        self._set(name, version, named=named)
        self._note(name)
        if version != self.acked.get(name, ABSENT):
            self.since[name] = now

    def accept(self, name: str, version: str, now: int, *, lifted: bool) -> None:
        """Note that the client runs a version; `lifted`: it had refused it before."""
        self._doubtful.pop(name, None)
        before = self.acked.pop(name, ABSENT)
        if version != ABSENT:
            self.acked[name] = version
        self._note(name)
        if version == ABSENT and name not in self.sent:
            self.since.pop(name, None)
        elif lifted or before != version:
            self.since[name] = now

    def refuse(self, name: str, now: int) -> None:
        """Note that the client refused what it was sent."""
        self.since[name] = now
        self._note(name)

    def revert(self, name: str, *, named: bool) -> None:
        """Go back to what the client had before what it was sent last."""
        # Of what is in doubt it did not run what it has just refused: so what it stated.
        stated = self._doubtful.get(name, ABSENT)
        known = ABSENT if stated == UNSTATED else stated
        self._set(name, self.acked.get(name, known), named=named)
        if stated == UNSTATED:
            self.sent[name] = UNSTATED

    def forget(self, name: str) -> None:
        """Drop what is known of a name."""
        for known in (self.sent, self.acked, self.since):
            known.pop(name, None)
        self._doubtful.pop(name, None)
        if self._print is not None:
            self._print.put(name, ABSENT)
        self._note(name)

    def _note(self, name: str) -> None:
        self.news.add(name)
        self.edits += 1

    def _set(self, name: str, version: str, *, named: bool) -> None:
        if version == ABSENT and not named:
            self.sent.pop(name, None)
        else:
            self.sent[name] = version
        if self._print is not None:
            self._print.put(name, version)
