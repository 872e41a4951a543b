"""Rows between the fold and the windows stream, or the events stream. Pure.

Keeps W1 and E1 of wire/journal.py: what is appended is exactly what the stream does
not cover yet, in fold order, whoever appended the rows before.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from wire.gen.gaugeway.journal.v1 import journal_pb2

MAX_ROWS: Final = 20_000  # of one windows record: some 4 MB before compression
MAX_EVENTS: Final = 5_000  # of one record of events: some 3 MB


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far a windows stream goes: all rows up to `through` of `generation`.

    If `more`, then of the rows of `through` itself only the first `rows`.
    """

    generation: int = 0
    through: int = 0
    rows: int = 0
    more: bool = False

    @classmethod
    def of(cls, record: journal_pb2.WindowsRecord) -> Coverage:
        """Return the coverage after `record`, the newest of its stream."""
        return cls(record.generation, record.through, record.skip + record.count, record.more)

    def missing(self, generation: int, seq: int) -> int | None:
        """Return how many rows of the readings record are here; None if all are.

        A record of an older generation was folded before anything of a newer
        one was appended, so it is covered.
        """
        if (generation, seq) > (self.generation, self.through):
            return 0
        if (generation, seq) == (self.generation, self.through) and self.more:
            return self.rows
        return None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows for one windows record, and the fields that place them."""

    generation: int
    through: int
    skip: int
    more: bool
    rows: pa.RecordBatch


@dataclass(frozen=True, slots=True)
class _Step:
    generation: int
    seq: int
    skip: int
    rows: pa.RecordBatch


class PendingWindows:
    """Rows that the fold emitted and the windows stream does not hold yet."""

    def __init__(self, coverage: Coverage, max_rows: int = MAX_ROWS) -> None:
        self.coverage = coverage
        self._max_rows = max_rows
        self._steps: deque[_Step] = deque()

    @property
    def rows(self) -> int:
        """Rows that wait."""
        return sum(step.rows.num_rows for step in self._steps)

    def add(self, generation: int, seq: int, rows: pa.RecordBatch) -> None:
        """Take what folding the readings record (generation, seq) emitted."""
        skip = self.coverage.missing(generation, seq)
        if skip is not None and rows.num_rows > skip:
            self._steps.append(_Step(generation, seq, skip, rows.slice(skip)))

    def next_chunk(self) -> Chunk | None:
        """Return what to append next; None if nothing waits. It stays until `appended`."""
        if not self._steps:
            return None
        first = self._steps[0]
        if first.rows.num_rows > self._max_rows:
            rows = first.rows.slice(0, self._max_rows)
            return Chunk(first.generation, first.seq, first.skip, more=True, rows=rows)
        batches: list[pa.RecordBatch] = []
        room, last = self._max_rows, first
        for step in self._steps:
            if step.generation != first.generation or step.rows.num_rows > room or (batches and step.skip):
                break
            batches.append(step.rows)
            room -= step.rows.num_rows
            last = step
        skip = first.skip if last is first else 0
        return Chunk(first.generation, last.seq, skip, more=False, rows=_concat(batches))

    def appended(self, coverage: Coverage) -> None:
        """Drop what `coverage` holds: after our own append, or after finding another's."""
        self.coverage = coverage
        steps, self._steps = self._steps, deque()
        for step in steps:
            here = coverage.missing(step.generation, step.seq)
            if here is None:
                continue
            new = max(0, here - step.skip)
            self._steps.append(_Step(step.generation, step.seq, step.skip + new, step.rows.slice(new)))


def _concat(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    table = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()
    (whole,) = table.to_batches()
    return whole
