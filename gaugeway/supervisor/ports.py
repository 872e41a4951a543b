"""Whether a port that was asked for can be had, and who has it."""

from __future__ import annotations

import contextlib
import errno
import socket

from gaugeway.supervisor.errors import PortTakenError, PortUnusableError


def check_port(what: str, host: str, port: int, option: str) -> None:
    """Raise PortTakenError or PortUnusableError unless `host:port` can be listened on; 0 always can."""
    if port == 0:
        return
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is no owner
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise PortUnusableError(what, host, port, option, error) from error
            raise PortTakenError(what, port, option, _owner(port)) from error


def _owner(port: int) -> str | None:
    """Return `name (process N)` of who listens on `port`, None if the system does not say."""
    import psutil  # noqa: PLC0415 - only for this message

    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr or not connection.pid:
                continue
            if connection.laddr.port == port:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return None
