"""Where a new writer of a shard begins: which checkpoint holds, and which generation it is. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from ext_proc.journal.checkpoints import StoredCheckpoint
from ext_proc.journal.pending import Coverage


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a shard's readings stream."""

    generation: int
    seq: int


@dataclass(frozen=True, slots=True)
class RecordMark:
    """What tells one record of the readings stream from another with the same sequence."""

    generation: int
    lease_generation: int
    now_unix_ns: int


@dataclass(frozen=True, slots=True)
class Findings:
    """What the streams and the worker's memory say of a shard.

    Attributes:
        first_seq, last_seq: Of the readings stream; nothing retained if first > last.
        last: The newest retained record; None if there is none.
        at_checkpoint: The record at the checkpoint's `through`; None if it is not retained.
        checkpoint: The newest checkpoint.
        coverage: Of the windows stream.
        windows_seq: The windows stream's last sequence.
        events_coverage, events_seq: The same of the events stream.
        settings_generation: From the settings bucket; 0 if none.
        known: The furthest place that this worker itself saw acknowledged.
    """

    first_seq: int
    last_seq: int
    last: RecordMark | None
    at_checkpoint: RecordMark | None
    checkpoint: StoredCheckpoint | None
    coverage: Coverage
    windows_seq: int
    settings_generation: int
    known: Position | None
    events_coverage: Coverage = field(default_factory=Coverage)
    events_seq: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """How to open the shard.

    Attributes:
        checkpoint: Fold on from here; None: from the first retained record.
        generation: What the next records carry.
        rolled_back: The stream lost its end, so `generation` is a new one.
    """

    checkpoint: StoredCheckpoint | None
    generation: int
    rolled_back: bool


def plan(found: Findings) -> Plan:
    """Decide where to begin.

    The stream was rolled back if anything points beyond its end: a checkpoint,
    the windows, our own memory. Then sequence numbers will be used a second
    time, which the next generation tells apart. A checkpoint beyond the end
    describes records that are gone, so it is not used; one before it still
    holds, for what is left is the beginning of what was.
    """
    checkpoint = found.checkpoint
    in_log = found.last.generation if found.last else 0
    emitted = found.coverage, found.events_coverage
    seen = [Position(coverage.generation, coverage.through) for coverage in emitted]
    if found.known:
        seen.append(found.known)
    if checkpoint:
        seen.append(Position(checkpoint.checkpoint.generation, checkpoint.checkpoint.through))
    newest = max([found.settings_generation, in_log, 1, *(place.generation for place in seen)])
    if found.last is None and found.last_seq > 0:
        in_log = newest  # everything aged out: the sequence is all that the stream still says
    rolled_back = any(
        place.seq > 0
        and (place.generation > in_log or (place.generation == in_log and place.seq > found.last_seq))
        for place in seen
    )
    usable = checkpoint is not None and _holds(found, checkpoint, None if rolled_back else in_log)
    return Plan(
        checkpoint=checkpoint if usable else None,
        generation=newest + 1 if rolled_back else newest,
        rolled_back=rolled_back,
    )


def _holds(found: Findings, stored: StoredCheckpoint, in_log: int | None) -> bool:
    """Say whether the log that the checkpoint folded is the one that is here.

    `in_log` is the generation at the log's end, None if that was lost.
    """
    checkpoint = stored.checkpoint
    if stored.windows_seq > found.windows_seq or stored.events_seq > found.events_seq:
        return False  # the stream lost rows that only folding again can emit
    if found.at_checkpoint is not None:
        mark = found.at_checkpoint
        return (mark.generation, mark.now_unix_ns) == (checkpoint.generation, checkpoint.now_unix_ns)
    # Its record aged out; within one generation that is the only way to be gone.
    return checkpoint.generation == in_log and checkpoint.through < found.first_seq
