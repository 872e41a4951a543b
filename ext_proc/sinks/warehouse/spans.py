"""Names of the warehouse's files, which are its cursor. Pure.

A file holds the rows of one kind and shard of the journal records
first..last, and is named by them:

    <kind>/date=YYYY-MM-DD/hour=HH/s<shard>-g<generation>[r<rewind>]-<first>-<last>.parquet

  F1  The hour is that of the journal's `now` of its first record; a commit that
      goes over the hour is cut there. (Event times may be anywhere before it.)
  F2  Files appear whole, in journal order: the newest names how far the
      warehouse has come, and its footer the append id of that record.
  F3  A file whose range lies inside another's of the same folder, shard, generation
      and rewind is contained: its rows are in the other one too. Readers leave it
      out. Ranges do not overlap in any other way.
  F4  `rewind` counts how often the journal began again under sequences that the
      warehouse had seen in the same or a later generation: it was lost as a
      whole, or the windows stream lost its end. Files of different rewinds or
      generations may hold the same rows; their keys tell (ext_proc.sinks.tables).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ext_proc.sinks.model import Chunk

_NAME: Final = re.compile(r"s(\d+)-g(\d+)(?:r(\d+))?-(\d+)-(\d+)\.parquet")


@dataclass(frozen=True, slots=True)
class Span:
    """A range of records of one shard, both ends included."""

    shard: int
    generation: int
    rewind: int
    first: int
    last: int

    @property
    def name(self) -> str:
        """The file's name."""
        rewind = f"r{self.rewind}" if self.rewind else ""
        return f"s{self.shard}-g{self.generation}{rewind}-{self.first}-{self.last}.parquet"

    @property
    def line(self) -> tuple[int, int, int]:
        """What files must have in common for their ranges to be compared."""
        return self.shard, self.rewind, self.generation

    @property
    def age(self) -> tuple[int, int, int]:
        """The later was written, the higher."""
        return self.rewind, self.generation, self.last

    @classmethod
    def parse(cls, name: str) -> Span | None:
        """Return the range that a file's name says; None if it is not one of ours."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        shard, generation, rewind, first, last = (int(part or 0) for part in match.groups())
        return cls(shard, generation, rewind, first, last)


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of the warehouse. `folder` is relative: <kind>/date=.../hour=... ; `size` is in bytes."""

    folder: str
    span: Span
    size: int = 0
    written_unix_s: float = 0.0

    @property
    def path(self) -> str:
        """Its path in the warehouse."""
        return f"{self.folder}/{self.span.name}"


def split_contained(files: Iterable[DataFile]) -> tuple[list[DataFile], list[tuple[DataFile, DataFile]]]:
    """Return the files to read, by shard and range, and the contained ones, each with what contains it.

    All files are of one kind. Only files of one folder are ever merged, so
    only these are compared.
    """
    ordered = sorted(files, key=lambda file: (file.span.line, file.folder, file.span.first, -file.span.last))
    kept: list[DataFile] = []
    contained: list[tuple[DataFile, DataFile]] = []
    for file in ordered:
        before = kept[-1] if kept else None
        comparable = (
            before is not None and before.span.line == file.span.line and before.folder == file.folder
        )
        if before is not None and comparable and file.span.last <= before.span.last:
            contained.append((file, before))
        else:
            kept.append(file)
    return kept, contained


def newest(files: Iterable[DataFile]) -> dict[int, DataFile]:
    """Return the newest file of each shard."""
    found: dict[int, DataFile] = {}
    for file in files:
        known = found.get(file.span.shard)
        if known is None or file.span.age > known.span.age:
            found[file.span.shard] = file
    return found


def rewind_of(before: Span | None, chunk: Chunk) -> int:
    """Return the `rewind` under which `chunk` is written after `before` (F4)."""
    if before is None:
        return 0
    goes_on = chunk.generation > before.generation or (
        chunk.generation == before.generation and chunk.seq > before.last
    )
    return before.rewind if goes_on else before.rewind + 1


def mergeable(
    kept: Sequence[DataFile], *, closed: bool, small_bytes: int, small_files: int, most_bytes: int
) -> list[list[DataFile]]:
    """Return the runs of one hour's files that are to be merged, a new file for each run.

    Args:
        kept: Files to read (split_contained) of one folder.
        closed: Nothing more is coming: everything that fits together is merged.
        small_bytes: Otherwise runs of files up to this size are merged,
        small_files: once they are so many.
        most_bytes: What the files of one run have together at most.
    """
    runs: list[list[DataFile]] = []
    size = 0
    for file in kept:
        joins = closed or file.size <= small_bytes
        if joins and runs and runs[-1][-1].span.line == file.span.line and size + file.size <= most_bytes:
            runs[-1].append(file)
            size += file.size
        else:
            runs.append([file])
            size = file.size if joins else most_bytes
    least = 2 if closed else max(2, small_files)
    return [run for run in runs if len(run) >= least]


def covering(run: Sequence[DataFile]) -> Span:
    """Return the range of a run of files in order."""
    first, last = run[0].span, run[-1].span
    return Span(first.shard, first.generation, first.rewind, first.first, last.last)
