"""When a shard appends what. Pure: times are monotonic nanoseconds that the caller reads."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

_MS: Final = 1_000_000


class Action(enum.Enum):
    """What a shard does next."""

    COMMAND = enum.auto()  # an OPEN or POLICY record that someone waits for
    BATCH = enum.auto()
    TICK = enum.auto()
    STOP = enum.auto()
    WAIT = enum.auto()


@dataclass(frozen=True, slots=True)
class Limits:
    """When a batch is full, when it is old, when an idle shard ticks."""

    batch_rows: int = 20_000
    batch_ms: int = 40
    tick_ms: int = 1000


@dataclass(frozen=True, slots=True)
class Load:
    """What waits in a shard.

    Attributes:
        commands: Records that someone waits for.
        rows: Rows (and notes) of readings.
        oldest_ns: When the oldest of them came; meaningless if rows is 0.
        last_append_ns: When the shard last appended anything.
        flush: Someone waits for the rows.
        closing: Nothing new will come.
    """

    commands: int
    rows: int
    oldest_ns: int
    last_append_ns: int
    flush: bool
    closing: bool


def next_action(load: Load, limits: Limits, now_ns: int) -> tuple[Action, int]:
    """Return what to do now; for WAIT also until when (else 0)."""
    if load.commands:
        return Action.COMMAND, 0
    if load.rows:
        due = load.oldest_ns + limits.batch_ms * _MS
        if load.flush or load.closing or load.rows >= limits.batch_rows or now_ns >= due:
            return Action.BATCH, 0
        return Action.WAIT, due
    if load.closing:
        return Action.STOP, 0
    tick = load.last_append_ns + limits.tick_ms * _MS
    return (Action.TICK, 0) if now_ns >= tick else (Action.WAIT, tick)
