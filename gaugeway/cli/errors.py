"""How a command ends when it cannot do what it was asked."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every command (docs/cli.md)."""

    OK = 0
    FAILED = 1
    USAGE = 2  # also a configuration file that is no good
    NOT_FOUND = 3
    REFUSED = 4  # the API says no: a value breaks a rule, or it conflicts with what there is
    UNREACHABLE = 5  # no API answers, or it does not accept the token
    PORT_TAKEN = 6
    ALREADY_RUNNING = 7


class CliError(Exception):
    """A sentence for stderr, what to do next if that is known, and the exit code.

    `status` is the HTTP status, if the API said no.
    """

    def __init__(self, code: ExitCode, message: str, hint: str = "", *, status: int | None = None) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        super().__init__(message)
