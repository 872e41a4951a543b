"""Why one machine's installation cannot start. Each text is a sentence for the person who started it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class SupervisorError(Exception):
    """Base of this package's errors."""


class PortTakenError(SupervisorError):
    """A port that was asked for is in use. `option` is the command line's word for it."""

    def __init__(self, what: str, port: int, option: str, owner: str | None) -> None:
        self.port = port
        self.option = option
        by = f" by {owner}" if owner else ""
        super().__init__(
            f"port {port} for {what} is taken{by}: "
            f"stop that, or choose another with {option} (0: any free one)"
        )


class PortUnusableError(SupervisorError):
    """A port that was asked for cannot be listened on: no such address, or no right to it."""

    def __init__(self, what: str, host: str, port: int, option: str, error: OSError) -> None:
        super().__init__(
            f"{what} cannot listen on {host}:{port}: {error.strerror}; choose another port with {option}"
        )


class AlreadyRunningError(SupervisorError):
    """Another supervisor runs on the same data directory."""

    def __init__(self, data_dir: Path, pid: str) -> None:
        self.data_dir = data_dir
        super().__init__(
            f"a Gaugeway already runs on {data_dir} (process {pid}): "
            "use it, stop it, or choose another --data-dir"
        )


class LeftoversError(SupervisorError):
    """Processes of an earlier run on the same data directory do not end."""

    def __init__(self, data_dir: Path, pids: str) -> None:
        super().__init__(
            f"processes of an earlier run on {data_dir} do not end: {pids}; end them, then try again"
        )


class ProgramMissingError(SupervisorError):
    """A program that is to be started is not installed."""


class KeepsDyingError(SupervisorError):
    """A process ends again and again before it ever served."""

    def __init__(self, name: str, deaths: int, how: str, log: Path, last_lines: Sequence[str]) -> None:
        self.name = name
        quoted = "".join(f"\n  {line}" for line in last_lines)
        super().__init__(
            f"{name} {how}, {deaths} times in a row, and never served; its log is {log}"
            + (f", and ends so:{quoted}" if quoted else ", and is empty")
        )


class StartTimeoutError(SupervisorError):
    """Not everything serves in time."""

    def __init__(self, waiting_for: Sequence[str], timeout_s: float, logs: Path) -> None:
        super().__init__(
            f"not ready within {timeout_s:g} s: {', '.join(waiting_for)}; their logs are in {logs}"
        )
