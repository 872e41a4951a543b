"""What of the Envoys' snapshots has passed the pre-flight check, port by port. Pure."""

from __future__ import annotations

from collections.abc import Collection

from control_plane.reconcile.admission import Admission, Checks, admit
from control_plane.reconcile.preflight_memory import Name
from control_plane.reconcile.standing import Refusal
from control_plane.resources.model import Snapshot


class Gate:
    """Lets snapshots through as far as they are checked; without `checks` as they are."""

    def __init__(self, checks: Checks | None = None) -> None:
        self._checks = checks
        self._of_port: dict[int, tuple[Snapshot, Admission]] = {}  # what was wanted, what goes out

    def keep(self, ports: Collection[int]) -> None:
        """Forget all other ports."""
        self._of_port = {port: each for port, each in self._of_port.items() if port in ports}

    def admitted(self, port: int, wanted: Snapshot) -> Snapshot | None:
        """Return what Envoys whose gateway is on `port` may run of `wanted`; None: nothing yet."""
        if self._checks is None:
            return wanted
        known = self._of_port.get(port)
        if known is None or known[0] is not wanted or known[1].held:
            before = None if known is None else known[1].snapshot
            admission = admit(wanted, before, self._checks)
            if known is not None and known[0] is wanted and known[1].held == admission.held:
                return before  # nothing has become known since
            self._of_port[port] = wanted, admission
        return self._of_port[port][1].snapshot

    def refused(self) -> dict[Name, str]:
        """Return why resources (type URL, name) are held back that did not pass."""
        return {
            name: verdict.reason
            for _, admission in self._of_port.values()
            for name, verdict in admission.held.items()
            if verdict.state == "refused"
        }

    def refusals(self, port: int) -> dict[Name, Refusal]:
        """Return what Envoys whose gateway is on `port` are spared, with its version."""
        if port not in self._of_port:
            return {}
        wanted, admission = self._of_port[port]
        return {
            (type_url, name): Refusal(wanted.of(type_url)[name].version, verdict.reason, "preflight")
            for (type_url, name), verdict in admission.held.items()
            if verdict.state == "refused"
        }
