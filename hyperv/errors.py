"""What can go wrong between the control plane and a hypervisor host."""

from __future__ import annotations


class HostError(Exception):
    """A host could not do what it was asked. `host_id` names it, `reason` is a sentence."""

    def __init__(self, host_id: str, reason: str) -> None:
        self.host_id = host_id
        self.reason = reason
        super().__init__(f"host {host_id}: {reason}")


class RetryableHostError(HostError):
    """The host did not answer, or not in time: the same call may go through later."""


class TerminalHostError(HostError):
    """The host refused: the same call will fail again until what it asks for changes."""
