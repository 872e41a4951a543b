"""Why a sink could not deliver: to be tried again by itself, or not without someone's help."""

from __future__ import annotations


class SinkError(Exception):
    """Base of the sinks' errors; `reason` is a sentence for the status."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class RetryableSinkError(SinkError):
    """The other side is away, busy or limits us: the same batch will be delivered later.

    `retry_after_s` is what the other side asks for; None leaves it to the driver's back-off.
    """

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(reason)


class TerminalSinkError(SinkError):
    """Nothing will change until someone acts: a missing permission, a wrong name, a newer journal.

    The driver says so loudly and tries again slowly, so that no restart is
    needed once it is put right.
    """
