"""The writer's pure parts: settling, recovery, schedule, window rows on their way."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.journal.checkpoints import StoredCheckpoint
from ext_proc.journal.pending import Chunk, Coverage, PendingWindows
from ext_proc.journal.recovery import Findings, Position, RecordMark, plan
from ext_proc.journal.schedule import Action, Limits, Load, next_action
from ext_proc.journal.writer import Again, Fenced, LastMessage, RecordWriter, WentIn, settle
from tests.journal.support import policy
from wire.gen.gaugeway.journal.v1 import journal_pb2

MS = 1_000_000


@pytest.mark.parametrize(
    ("last", "outcome"),
    [
        (LastMessage(11, "ours"), WentIn(11)),
        (LastMessage(10, ""), Again()),
        (LastMessage(10, "someone's before"), Again()),
    ],
)
def test_settling(last: LastMessage, outcome: object) -> None:
    """Our own id means in, an unchanged head means not in."""
    assert settle("ours", 10, last) == outcome


@pytest.mark.parametrize("last", [LastMessage(11, "theirs"), LastMessage(12, ""), LastMessage(9, "")])
def test_settling_fences(last: LastMessage) -> None:
    """Another's message, or a stream that is shorter than it was, is the end of this writer."""
    outcome = settle("ours", 10, last)
    assert isinstance(outcome, Fenced)
    assert outcome.head == last.seq


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=50))
def test_now_never_goes_back(clock: list[int]) -> None:
    """R1: whatever the clock does, records are in order of their time, and never before the log's."""
    writer = RecordWriter(0, "worker-1", 1, 1, now_unix_ns=1000)
    nows = [writer.tick(now).now_unix_ns for now in clock]
    assert nows == sorted(nows)
    assert nows[0] >= 1000


def test_records_carry_the_writers_marks() -> None:
    """OPEN and POLICY carry the policy; every record has an id of its own."""
    writer = RecordWriter(3, "worker-1", 2, 9, 0)
    records = [writer.open(policy(), 1), writer.policy(policy(), 2), writer.tick(3)]
    assert [record.kind for record in records] == [
        journal_pb2.ReadingsRecord.OPEN,
        journal_pb2.ReadingsRecord.POLICY,
        journal_pb2.ReadingsRecord.TICK,
    ]
    assert all((record.shard, record.generation, record.lease_generation) == (3, 2, 9) for record in records)
    assert len({record.append_id for record in records}) == 3
    assert records[0].policy == records[1].policy == policy()
    assert not records[2].HasField("policy")


LOAD = Load(commands=0, rows=0, oldest_ns=0, last_append_ns=0, flush=False, closing=False)
LIMITS = Limits(batch_rows=100, batch_ms=40, tick_ms=1000)


@pytest.mark.parametrize(
    ("change", "now_ms", "action"),
    [
        ({}, 999, (Action.WAIT, 1000 * MS)),
        ({}, 1000, (Action.TICK, 0)),
        ({"rows": 1, "oldest_ns": 10 * MS}, 49, (Action.WAIT, 50 * MS)),
        ({"rows": 1, "oldest_ns": 10 * MS}, 50, (Action.BATCH, 0)),
        ({"rows": 100, "oldest_ns": 10 * MS}, 10, (Action.BATCH, 0)),
        ({"rows": 1, "oldest_ns": 10 * MS, "flush": True}, 10, (Action.BATCH, 0)),
        ({"rows": 1, "oldest_ns": 10 * MS, "closing": True}, 10, (Action.BATCH, 0)),
        ({"closing": True}, 10, (Action.STOP, 0)),
        ({"commands": 1, "rows": 500, "closing": True}, 10, (Action.COMMAND, 0)),
    ],
)
def test_schedule(change: dict[str, int], now_ms: int, action: tuple[Action, int]) -> None:
    """Batches go by size, age or on request; an idle shard ticks; closing empties it first."""
    load = Load(**{**{name: getattr(LOAD, name) for name in Load.__slots__}, **change})
    assert next_action(load, LIMITS, now_ms * MS) == action


def stored(generation: int, through: int, now: int = 5, windows_seq: int = 0) -> StoredCheckpoint:
    """Return a checkpoint without content."""
    checkpoint = journal_pb2.Checkpoint(generation=generation, through=through, now_unix_ns=now)
    return StoredCheckpoint(checkpoint, windows_seq)


def findings(**change: object) -> Findings:
    """Return what a shard with 100 records and a good checkpoint at 90 says, with changes."""
    usual: dict[str, object] = {
        "first_seq": 1,
        "last_seq": 100,
        "last": RecordMark(2, 1, 9),
        "at_checkpoint": RecordMark(2, 1, 5),
        "checkpoint": stored(2, 90),
        "coverage": Coverage(2, 95, 3),
        "windows_seq": 7,
        "settings_generation": 2,
        "known": Position(2, 100),
    }
    return Findings(**{**usual, **change})  # type: ignore[arg-type]  # a table of cases


@pytest.mark.parametrize(
    ("change", "uses_checkpoint", "generation", "rolled_back"),
    [
        ({}, True, 2, False),
        ({"checkpoint": None, "at_checkpoint": None, "known": None}, False, 2, False),
        ({"last_seq": 94, "known": None}, True, 3, True),  # windows point beyond the end
        ({"last_seq": 97}, True, 3, True),  # our own memory does
        ({"last_seq": 97, "first_seq": 92, "at_checkpoint": None}, False, 3, True),
        ({"last_seq": 97, "at_checkpoint": RecordMark(2, 1, 6)}, False, 3, True),
        ({"last_seq": 80, "at_checkpoint": None, "known": None, "coverage": Coverage()}, False, 3, True),
        (  # the stream vanished
            {"first_seq": 0, "last_seq": 0, "last": None, "at_checkpoint": None, "settings_generation": 0},
            False,
            3,
            True,
        ),
        ({"at_checkpoint": RecordMark(2, 1, 6)}, False, 2, False),  # a checkpoint of another log
        ({"at_checkpoint": RecordMark(1, 1, 5)}, False, 2, False),
        ({"checkpoint": stored(2, 90, windows_seq=8)}, False, 2, False),  # windows were lost
        ({"first_seq": 92, "at_checkpoint": None}, True, 2, False),  # its record aged out
        ({"first_seq": 101, "last": None, "at_checkpoint": None}, True, 2, False),  # everything did
        ({"settings_generation": 3}, True, 3, False),  # died between raising it and OPEN
        (  # a new shard
            {
                "first_seq": 0,
                "last_seq": 0,
                "last": None,
                "at_checkpoint": None,
                "checkpoint": None,
                "coverage": Coverage(),
                "windows_seq": 0,
                "settings_generation": 0,
                "known": None,
            },
            False,
            1,
            False,
        ),
    ],
)
def test_recovery_plan(
    change: dict[str, object], uses_checkpoint: bool, generation: int, rolled_back: bool
) -> None:
    """Which checkpoint holds, and whether the stream lost its end."""
    decided = plan(findings(**change))
    assert (decided.checkpoint is not None, decided.generation, decided.rolled_back) == (
        uses_checkpoint,
        generation,
        rolled_back,
    )


def numbered(first: int, count: int) -> pa.RecordBatch:
    """Return rows that are numbers."""
    return pa.RecordBatch.from_pydict({"n": pa.array(range(first, first + count), pa.int64())})


def record_of(chunk: Chunk) -> journal_pb2.WindowsRecord:
    """Return the record of a chunk, without rows."""
    return journal_pb2.WindowsRecord(
        generation=chunk.generation,
        through=chunk.through,
        skip=chunk.skip,
        more=chunk.more,
        count=chunk.rows.num_rows,
    )


@given(
    steps=st.lists(st.integers(0, 25), max_size=15),
    max_rows=st.integers(1, 12),
    crashes=st.lists(st.integers(0, 4), max_size=10),
)
def test_window_rows_are_appended_once_whoever_dies(
    steps: list[int], max_rows: int, crashes: list[int]
) -> None:
    """A writer that dies after any append is followed by one that appends exactly the rest."""
    expected = list(range(sum(steps)))
    coverage = Coverage()
    stream: list[int] = []
    throughs: list[tuple[int, bool]] = []
    for lives in [*crashes, None]:
        pending = PendingWindows(coverage, max_rows)
        first = 0
        for seq, count in enumerate(steps, start=1):  # folding again gives the same rows
            pending.add(1, seq, numbered(first, count))
            first += count
        appended = 0
        while (lives is None or appended < lives) and (chunk := pending.next_chunk()) is not None:
            assert 0 < chunk.rows.num_rows <= max_rows
            stream += chunk.rows.column("n").to_pylist()
            coverage = Coverage.of(record_of(chunk))
            throughs.append((coverage.through, coverage.more))
            pending.appended(coverage)
            appended += 1
    assert stream == expected
    for (before, more), (after, _) in itertools.pairwise(throughs):
        assert after > before or (after == before and more)


def test_rows_that_another_writer_appended_are_dropped() -> None:
    """Finding the stream further than we knew leaves exactly what it lacks."""
    pending = PendingWindows(Coverage())
    for seq in (1, 2, 3):
        pending.add(1, seq, numbered(seq * 10, 10))
    pending.appended(Coverage(1, 2, rows=4, more=True))
    chunk = pending.next_chunk()
    assert chunk is not None
    assert chunk.rows.column("n").to_pylist() == [*range(24, 30), *range(30, 40)]
    assert (chunk.through, chunk.skip) == (3, 0)


def test_a_new_generation_is_not_covered_by_an_old_one() -> None:
    """After a roll-back the windows stream points beyond the log; new records count anew."""
    coverage = Coverage(1, 150, 2)
    assert coverage.missing(1, 100) is None
    assert coverage.missing(2, 101) == 0
