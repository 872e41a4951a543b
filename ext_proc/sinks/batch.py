"""Records gathered into one delivery. Pure: times are monotonic seconds that the caller reads."""

from __future__ import annotations

from dataclasses import dataclass

from ext_proc.sinks.model import BatchLimits, Chunk


@dataclass(frozen=True, slots=True)
class Batch:
    """What is delivered in one call: `chunks` have rows; `last` is the newest record that it covers."""

    chunks: tuple[Chunk, ...]
    last: Chunk
    rows: int


class Gathering:
    """The records since the last delivery. Those without rows only move its end.

    A batch holds one generation: `fits` is False for a record of another.
    """

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._chunks: list[Chunk] = []
        self._last: Chunk | None = None
        self._since = 0.0
        self._bytes = 0
        self.rows = 0

    @property
    def oldest_unix_ns(self) -> int | None:
        """The journal's time of the first rows that wait."""
        return self._chunks[0].now_unix_ns if self._chunks else None

    @property
    def due_at(self) -> float | None:
        """When it must be delivered for its age; None if no rows wait."""
        return self._since + self._limits.age_s if self._chunks else None

    def fits(self, chunk: Chunk) -> bool:
        """Say whether `chunk` may be added."""
        return self._last is None or (
            chunk.generation == self._last.generation and chunk.seq > self._last.seq
        )

    def add(self, chunk: Chunk, now_s: float) -> None:
        """Add the next record."""
        if chunk.rows.num_rows:
            if not self._chunks:
                self._since = now_s
            self._chunks.append(chunk)
            self.rows += chunk.rows.num_rows
            self._bytes += chunk.rows.nbytes
        self._last = chunk

    def due(self, now_s: float) -> bool:
        """Say whether it is full, or old."""
        if not self._chunks:
            return False
        full = self.rows >= self._limits.rows or self._bytes >= self._limits.bytes
        return full or now_s >= self._since + self._limits.age_s

    def take(self) -> Batch | None:
        """Return what was gathered, and begin anew; None if nothing was."""
        if self._last is None:
            return None
        batch = Batch(tuple(self._chunks), self._last, self.rows)
        self._chunks, self._last, self._bytes, self.rows = [], None, 0, 0
        return batch
