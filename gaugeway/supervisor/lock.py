"""One supervisor at a time on a data directory, and none beside the leftovers of another.

Two locks of flock(2). The supervisor holds the first alone. The second is also
held by each process that it starts (they inherit the descriptor), so it is
free only when all of them are gone: two NATS servers on one store would ruin it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gaugeway.supervisor.errors import AlreadyRunningError, LeftoversError

LEFTOVERS_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.02


@contextlib.contextmanager
def data_dir_lock(data_dir: Path, run: Path, timeout_s: float = LEFTOVERS_TIMEOUT_S) -> Iterator[int]:
    """Hold both locks; yields the descriptor that started processes must inherit.

    Waits at most `timeout_s` for the processes of a supervisor that was killed.
    Raises AlreadyRunningError, LeftoversError.
    """
    run.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(_opened(run / "supervisor.lock"))
        if not _try_lock(own):
            raise AlreadyRunningError(data_dir, _read(own))
        os.ftruncate(own, 0)
        os.pwrite(own, f"{os.getpid()}\n".encode(), 0)
        shared = stack.enter_context(_opened(run / "processes.lock"))
        deadline = time.monotonic() + timeout_s
        while not _try_lock(shared):
            if time.monotonic() > deadline:
                raise LeftoversError(data_dir, _holders(run / "processes.lock"))
            time.sleep(_POLL_S)
        yield shared


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[int]:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode().strip() or "unknown"


def _holders(file: Path) -> str:
    """Return the processes that have `file` open, as far as the system tells."""
    import psutil  # noqa: PLC0415 - only for this message

    found = []
    for process in psutil.process_iter(["pid", "name"]):
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and any(Path(each.path) == file for each in process.open_files()):
                found.append(f"{process.info['name']} ({process.pid})")
    return ", ".join(found) or "unknown ones"
