"""What a power loss leaves of an agent's spool: the state that its own fsyncs vouch for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).with_name("power"))}
"""For the processes whose agents note their fsyncs (power/sitecustomize.py)."""

_JOURNAL = "fsyncs.jsonl"


def lose_power(spool: Path) -> int:
    """Take from a dead agent's `spool` whatever no fsync covered; return how many bytes that was.

    A file whose name no fsync of the folder covered is gone, any other ends where its last fsync
    found its end. A name that was given to another file (a rename) must be covered: there is no
    telling what it was before.
    """
    names: dict[str, int] = {}
    sizes: dict[int, int] = {}
    for fsync in _fsyncs(spool.parent / _JOURNAL):
        if "folder" in fsync:
            names = fsync["names"]
        else:
            sizes[fsync["inode"]] = fsync["size"]
    lost = 0
    for path in spool.iterdir():
        status = path.stat()
        if path.name == "lock":
            continue
        if path.name not in names:
            lost += status.st_size
            path.unlink()
            continue
        assert names[path.name] == status.st_ino, f"{path.name} was replaced and the folder not fsynced"
        durable = sizes.get(status.st_ino, 0)
        lost += status.st_size - durable
        with path.open("r+b") as file:
            file.truncate(durable)
    return lost


def _fsyncs(journal: Path) -> Iterator[dict[str, Any]]:
    for line in journal.read_text().splitlines():
        yield json.loads(line)
