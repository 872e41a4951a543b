"""Whether processes are still there."""

from __future__ import annotations

from collections.abc import Iterable

import psutil


def alive(pids: Iterable[int]) -> list[int]:
    """Return those that run; one that ended and was not reaped yet does not."""
    found = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except psutil.NoSuchProcess:
            continue
    return found


def family(pid: int) -> list[int]:
    """Return a process and all that it and its children started."""
    process = psutil.Process(pid)
    return [pid, *(child.pid for child in process.children(recursive=True))]
