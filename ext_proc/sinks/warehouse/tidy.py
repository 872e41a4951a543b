"""Keeping the warehouse small: merging files, removing what is contained, old, or too much. Blocks.

A contained file is removed only GRACE_S after the one that contains it was
written: a reader may have listed the folder just before.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from ext_proc.sinks.model import KINDS
from ext_proc.sinks.warehouse import files
from ext_proc.sinks.warehouse.spans import DataFile, mergeable, newest, split_contained

log = structlog.get_logger(__name__)

GRACE_S: Final = 60.0
SETTLED_S: Final = 60.0  # after the last commit into an hour that is over
SMALL_BYTES: Final = 8 << 20
MOST_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class Keep:
    """What is kept: hours that ended at most `days` ago, and `bytes` altogether."""

    days: float
    bytes: int


class Tidy:
    """Looks after the folders that were written to.

    Args:
        directory: The warehouse.
        compact_files: So many small files of an hour that goes on are merged.
        grace_s: How long a contained file stays.
    """

    def __init__(self, directory: Path, compact_files: int, grace_s: float = GRACE_S) -> None:
        self._directory = directory
        self._compact_files = compact_files
        self._grace_s = grace_s
        self._written: dict[str, float] = {}  # folder -> when, monotonic seconds

    def look_at_all(self) -> None:
        """Take all folders for written to long ago: after a start nothing is known of them."""
        for kind in KINDS:
            for folder in files.folders(self._directory, kind):
                self._written.setdefault(folder, float("-inf"))

    def wrote(self, folder: str) -> None:
        """Take note of a commit."""
        self._written[folder] = time.monotonic()

    def compact(self) -> None:
        """Merge and remove what can be in the folders that were written to. Raises OSError."""
        now = datetime.now(UTC)
        for folder, written in list(self._written.items()):
            closed = files.end_of(folder) <= now and time.monotonic() - written >= SETTLED_S
            kept, contained = split_contained(files.files_in(self._directory, folder))
            for run in mergeable(
                kept,
                closed=closed,
                small_bytes=SMALL_BYTES,
                small_files=self._compact_files,
                most_bytes=MOST_BYTES,
            ):
                merged = files.merge(self._directory, run)
                contained += [(file, merged) for file in run]
            before = time.time() - self._grace_s
            gone = [file for file, by in contained if by.written_unix_s <= before]
            files.remove(self._directory, gone)
            if closed and len(gone) == len(contained) and self._written.get(folder) == written:
                del self._written[folder]

    def expire(self, keep: Keep) -> None:
        """Remove what is too old or too much, whole hours, the oldest first. Raises OSError.

        The newest file of a kind and shard stays, for it is the cursor.
        """
        hours: dict[str, list[DataFile]] = {}
        cursors: set[str] = set()
        for kind in KINDS:
            found = files.files_of(self._directory, kind)
            cursors.update(file.path for file in newest(found).values())
            for file in found:
                hours.setdefault(file.folder, []).append(file)
        too_old = datetime.now(UTC) - timedelta(days=keep.days)
        total = sum(file.size for found in hours.values() for file in found)
        for folder in sorted(hours, key=files.hour_of):
            if files.end_of(folder) > too_old and total <= keep.bytes:
                break
            gone = [file for file in _removable(hours[folder]) if file.path not in cursors]
            if not gone:
                continue
            files.remove(self._directory, gone)
            total -= sum(file.size for file in gone)
            log.info("hour_removed", folder=folder, files=len(gone))


def _removable(found: Iterable[DataFile]) -> list[DataFile]:
    """Return files in an order in which none is uncovered: the contained ones first."""
    kept, contained = split_contained(found)
    return [file for file, _ in contained] + kept
