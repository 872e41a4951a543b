"""What the driver and its targets tell each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, runtime_checkable

import pyarrow as pa

Kind = Literal["readings", "windows"]
KINDS: Final[tuple[Kind, ...]] = ("readings", "windows")


@dataclass(frozen=True, slots=True)
class Position:
    """A record of a stream: its generation, its sequence, and its append id in hexadecimal digits.

    The id tells whether the stream still holds the record that was read: after
    a loss another one may have its sequence.
    """

    generation: int
    seq: int
    append_id: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """One record of the journal, decoded.

    Attributes:
        kind: Which stream.
        shard: Which shard.
        generation: The journal's generation in which it was written.
        seq: Its sequence in the stream.
        now_unix_ns: The journal's time when it was written; never goes back within a shard.
        rows: Rows of wire.journal's schema for `kind`; none for a tick, an open or a policy.
        append_id: The record's own mark, hexadecimal.
    """

    kind: Kind
    shard: int
    generation: int
    seq: int
    now_unix_ns: int
    rows: pa.RecordBatch
    append_id: str = ""

    @property
    def position(self) -> Position:
        """Where a reader goes on that has delivered this record."""
        return Position(self.generation, self.seq, self.append_id)


@dataclass(frozen=True, slots=True)
class DeadRow:
    """A row that the other side will never take.

    Attributes:
        row: Its public columns, as ext_proc.sinks.tables.json_rows gives them.
        reason: The other side's own words.
    """

    row: Mapping[str, object]
    reason: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of a batch: every row was delivered, left out by configuration, dead, or given up.

    Attributes:
        rows: Those that the other side took.
        dead: Those that it will never take.
        given_up: Those left out on purpose to stay within the other side's limits (Power BI: older
            windows of a series, when there is no room for all); counted and said in the status.
    """

    rows: int
    dead: tuple[DeadRow, ...] = ()
    given_up: int = 0


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """When a batch is full: any one of these. A single record larger than a limit is a batch by itself.

    Attributes:
        rows: Journal rows.
        bytes: Of the rows in memory (Arrow, before any encoding for the other side).
        age_s: How long its first row has waited in the sink.
    """

    rows: int = 20_000
    bytes: int = 8 << 20
    age_s: float = 1.0


class Target(Protocol):
    """Where a sink delivers to.

    The driver makes one call of `deliver` at a time for a (kind, shard), and
    calls for different ones side by side.
    """

    @property
    def name(self) -> str:
        """Name, for logs."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The streams that it wants."""

    @property
    def limits(self) -> BatchLimits:
        """How large its batches shall be."""

    async def start(self) -> None:
        """Connect, make what is missing. Called again after an error.

        Raises RetryableSinkError or TerminalSinkError.
        """

    async def deliver(self, chunks: Sequence[Chunk]) -> Delivered:
        """Deliver records of one kind, shard and generation, in journal order.

        At least one; each has rows. Sequences rise within a batch, and from
        batch to batch unless the driver had to go back (ext_proc.sinks.cursors):
        then records come again, or others under sequences that came before.
        After an error the same records come again in the same batch; after a
        crash they come again cut differently. Their rows have deterministic
        keys (ext_proc.sinks.tables), so that the other side can tell.

        Raises RetryableSinkError or TerminalSinkError; anything else ends the sink.
        """

    async def close(self) -> None:
        """Let go of everything; nothing is being delivered."""


@runtime_checkable
class OwnsCursor(Protocol):
    """A target that knows by itself how far it has come, more surely than a cursor beside it could."""

    async def cursor(self, kind: Kind, shard: int) -> Position | None:
        """Return the last record with rows that was delivered; None if there is none."""
