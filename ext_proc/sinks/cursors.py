"""Where a sink goes on in a stream. Pure.

A cursor names the last record that was dealt with, by generation, sequence and
append id. When the stream holds another record there, or ends before it, its
end was lost (R7 of wire/journal.py) and the sink goes back to where the log
still agrees with what it read; the keys of the rows settle what comes twice.

Readings: the records before the first of a newer generation are those that
were read, so it goes on with that one. Everything else (also the windows
stream, which can lose its end alone and is then filled under the same
generation, cut differently) goes back to the first record there is.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from ext_proc.sinks.model import Kind, Position


@dataclass(frozen=True, slots=True)
class Found:
    """What a stream holds.

    Attributes:
        first_seq, last_seq: Nothing is retained if first > last.
        at_cursor: The record with the cursor's sequence; None if it is not retained or cannot be read.
        last: The newest record, likewise.
        growing: It is known to have grown since it was last looked at.
    """

    first_seq: int
    last_seq: int
    at_cursor: Position | None = None
    last: Position | None = None
    growing: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """Read from `seq` on.

    Attributes:
        seq: Sequence of the next record.
        rewound: Records may come that were delivered before.
        gap: Records (first, last) that were discarded before they were read.
    """

    seq: int
    rewound: bool = False
    gap: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class StartOfNewer:
    """Read from the first record on whose generation is above `generation`."""

    generation: int


@dataclass(frozen=True, slots=True)
class NotYet:
    """Look again soon; `reason` is a sentence."""

    reason: str


def place(kind: Kind, cursor: Position | None, found: Found) -> Start | StartOfNewer | NotYet:
    """Decide where to go on."""
    if cursor is None:
        return Start(found.first_seq)
    if cursor.seq <= found.last_seq:
        if found.at_cursor is None:
            gap = (cursor.seq + 1, found.first_seq - 1) if cursor.seq + 1 < found.first_seq else None
            return Start(max(cursor.seq + 1, found.first_seq), gap=gap)
        if agrees(cursor, found.at_cursor):
            return Start(cursor.seq + 1)
    if kind == "readings":
        if found.last is not None and found.last.generation > cursor.generation:
            return StartOfNewer(cursor.generation)
        if cursor.seq > found.last_seq and not found.growing:
            # Its writer will open it under a newer generation; if it grows without, all of it is new.
            return NotYet(f"it ends at {found.last_seq}, before {cursor.seq}: waiting for its writer")
    return Start(found.first_seq, rewound=True)


def agrees(cursor: Position, found: Position) -> bool:
    """Say whether the record found is the one that was read; a damaged one was read without its id."""
    if not cursor.append_id:
        return cursor.seq == found.seq
    return cursor == found


class StoredCursor(BaseModel):
    """A cursor as the bucket keeps it.

    Attributes:
        position: The last record that was dealt with.
        rows_at: The last one with rows that was delivered; None if none was. Between it and `position`
            there are no rows.
        now_unix_ns: The journal's time at `position`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    position: Position
    rows_at: Position | None
    now_unix_ns: int

    @classmethod
    def read(cls, data: bytes) -> StoredCursor | None:
        """Return what `data` holds; None if it is not a cursor, which the rows' keys then make up for."""
        try:
            return cls.model_validate_json(data)
        except ValidationError:
            return None


def resume_from(stored: StoredCursor | None, owned: Position | None) -> Position | None:
    """Return where a target that owns its cursor goes on.

    What it has is the truth; the stored cursor only adds that no rows follow
    up to its position, and is worth nothing if it was taken at another place.
    """
    if stored is not None and stored.rows_at == owned and owned is not None:
        return stored.position
    return owned
