"""A disk that can be asked what it would hold after a power loss.

Python imports this by itself where this folder is on PYTHONPATH; only a guest
agent is changed. After every fsync the agent's own order of them is written
down, beside its spool: what a file had when fsync was called is on disk for
sure, and of a folder, the names. Everything else is what a power loss may
take, and `tests.faults.power_loss` takes it. fsync is as slow as on a cheap
flash card, so that a kill meets writes that it has still to cover.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SLOW_S = 0.03
JOURNAL = "fsyncs.jsonl"


def _described(descriptor: int) -> dict[str, Any]:
    """Return what is durable once an fsync that begins now has returned."""
    status = os.fstat(descriptor)
    path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
    if not stat.S_ISDIR(status.st_mode):
        return {"file": path, "inode": status.st_ino, "size": status.st_size}
    names = {entry.name: entry.inode() for entry in os.scandir(path) if entry.is_file()}
    return {"folder": path, "names": names}


def _noting(sync: Callable[[int], None], journal: int) -> Callable[[int], None]:
    def noted(descriptor: int) -> None:
        covered = _described(descriptor)
        time.sleep(SLOW_S)
        sync(descriptor)
        os.write(journal, json.dumps(covered).encode() + b"\n")

    return noted


def _install(spool: Path) -> None:
    """Have this process's fsyncs written down beside `spool`."""
    file = spool.parent / JOURNAL
    journal = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for name in ("fsync", "fdatasync"):
        setattr(os, name, _noting(getattr(os, name), journal))


if "hyperv.guest" in sys.orig_argv and "serve" in sys.orig_argv:
    _install(Path(sys.orig_argv[sys.orig_argv.index("--spool") + 1]))
