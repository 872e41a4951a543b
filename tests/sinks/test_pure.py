"""The pure parts of the driver: where to go on, what a batch is, how long to wait, how far behind."""

from __future__ import annotations

import pytest

from ext_proc.sinks.backoff import Backoff
from ext_proc.sinks.batch import Gathering
from ext_proc.sinks.cursors import (
    Found,
    NotYet,
    Start,
    StartOfNewer,
    StoredCursor,
    place,
    resume_from,
)
from ext_proc.sinks.errors import TerminalSinkError
from ext_proc.sinks.lag import RowsPerRecord, StreamSize, lag_s, retention_alarm, retention_share
from ext_proc.sinks.model import BatchLimits, Chunk, Kind, Position
from ext_proc.sinks.records import Damaged, decode, position_of
from tests.sinks.support import START, readings_chunk, record_of, windows_chunk
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import SCHEMA_VERSION, encode_rows

READ = Position(1, 50, "aa")
OTHER = Position(1, 50, "bb")
NEWER = Position(2, 60, "cc")


@pytest.mark.parametrize(
    ("kind", "cursor", "found", "decided"),
    [
        ("readings", None, Found(1, 0), Start(1)),
        ("readings", None, Found(31, 90), Start(31)),
        ("readings", READ, Found(1, 50, READ, READ), Start(51)),
        ("windows", READ, Found(1, 90, READ, Position(1, 90, "dd")), Start(51)),
        ("readings", READ, Found(51, 50), Start(51)),
        ("readings", READ, Found(51, 90), Start(51)),
        ("readings", READ, Found(71, 90), Start(71, gap=(51, 70))),
        ("windows", READ, Found(71, 90), Start(71, gap=(51, 70))),
        ("readings", READ, Found(1, 60, OTHER, NEWER), StartOfNewer(1)),
        ("readings", READ, Found(1, 40, None, Position(2, 40, "cc")), StartOfNewer(1)),
        ("readings", READ, Found(1, 60, OTHER, Position(1, 60, "cc")), Start(1, rewound=True)),
        ("readings", READ, Found(1, 40, None, Position(1, 40, "cc"), growing=True), Start(1, rewound=True)),
        ("windows", READ, Found(1, 60, OTHER, NEWER), Start(1, rewound=True)),
        ("windows", READ, Found(3, 40, None, Position(1, 40, "cc")), Start(3, rewound=True)),
    ],
)
def test_place(kind: Kind, cursor: Position | None, found: Found, decided: Start | StartOfNewer) -> None:
    """Every way in which a stream and a cursor can meet."""
    assert place(kind, cursor, found) == decided


def test_a_stream_that_is_too_short_waits_for_its_writer() -> None:
    """Readings that lost their end get a newer generation: until then there is nothing to read."""
    decided = place("readings", READ, Found(1, 40, None, Position(1, 40, "cc")))
    assert isinstance(decided, NotYet)
    assert isinstance(place("readings", READ, Found(1, 0)), NotYet)


def test_a_damaged_record_is_recognised_by_its_place() -> None:
    """It was read without an id, so any record there is the one."""
    damaged = Position(0, 50, "")
    assert place("readings", damaged, Found(1, 60, OTHER, NEWER)) == Start(51)


def test_a_target_with_its_own_cursor() -> None:
    """What it has is the truth; the stored cursor only skips records without rows behind it."""
    rows_at, position = Position(1, 50, "aa"), Position(1, 900, "bb")
    stored = StoredCursor(position=position, rows_at=rows_at, now_unix_ns=1)
    assert resume_from(stored, rows_at) == position
    assert resume_from(stored, Position(1, 40, "cc")) == Position(1, 40, "cc")
    assert resume_from(None, rows_at) == rows_at
    assert resume_from(stored, None) is None
    assert resume_from(StoredCursor(position=position, rows_at=None, now_unix_ns=1), None) is None
    assert StoredCursor.read(stored.model_dump_json().encode()) == stored
    assert StoredCursor.read(b"{}") is None


def test_gathering_is_cut_by_rows_bytes_and_age() -> None:
    """Whichever limit is reached first; records without rows make nothing due."""
    tick = readings_chunk(1)
    gathering = Gathering(BatchLimits(rows=10, bytes=1 << 20, age_s=5))
    gathering.add(tick, 0.0)
    assert (gathering.due(100.0), gathering.due_at) == (False, None)
    gathering.add(readings_chunk(2, ("a", 1, 4)), 100.0)
    assert (gathering.due(104.9), gathering.due(105.0), gathering.due_at) == (False, True, 105.0)
    gathering.add(readings_chunk(3, ("a", 5, 6)), 101.0)
    assert gathering.due(101.0)
    gathering.add(readings_chunk(4), 101.0)
    batch = gathering.take()
    assert batch is not None
    assert ([chunk.seq for chunk in batch.chunks], batch.last.seq, batch.rows) == ([2, 3], 4, 10)
    assert (gathering.take(), gathering.rows, gathering.due(1e9)) == (None, 0, False)
    small = Gathering(BatchLimits(rows=1000, bytes=1, age_s=5))
    small.add(readings_chunk(5, ("a", 11, 1)), 0.0)
    assert small.due(0.0)


def test_a_batch_is_of_one_generation_and_never_goes_back() -> None:
    """A record of another life of the journal begins another batch."""
    gathering = Gathering(BatchLimits())
    assert gathering.fits(readings_chunk(7))
    gathering.add(readings_chunk(7, ("a", 1, 1)), 0.0)
    assert gathering.fits(readings_chunk(8))
    assert not gathering.fits(readings_chunk(8, generation=2))
    assert not gathering.fits(readings_chunk(7))


def test_backoff_doubles_with_jitter() -> None:
    """From half to all of each step, up to the most, and from the beginning after a success."""
    backoff = Backoff(1.0, 3.0)
    assert [backoff.wait_s(0.0) for _ in range(4)] == [0.5, 1.0, 1.5, 1.5]
    backoff.reset()
    assert backoff.wait_s(0.999) == pytest.approx(1.0, rel=0.01)


def test_retention_is_used_up_by_age_or_by_bytes() -> None:
    """Half of either is an alarm; without limits nothing is ever discarded."""
    size = StreamSize(101, 200, bytes=800, max_age_s=100.0, max_bytes=1000)
    assert retention_share(size, 200, 0.0) == 0
    assert retention_share(size, 150, 10.0) == pytest.approx(0.4)
    assert retention_share(size, 150, 70.0) == pytest.approx(0.7)
    assert retention_share(size, 0, 10.0) == pytest.approx(0.8)
    assert retention_share(StreamSize(1, 200, 800, 0.0, -1), 0, 1e9) == 0
    assert retention_alarm("gw-readings-0", 0.49) is None
    assert "80%" in (retention_alarm("gw-readings-0", 0.8) or "")


def test_lag_is_guessed_from_the_records_before() -> None:
    """Records that were not read yet are taken for as large as the last ones."""
    mean = RowsPerRecord()
    assert mean.guess(3) == 3
    mean.saw(100)
    assert mean.guess(3) == 300
    assert (lag_s(None, 5), lag_s(10, 5), lag_s(0, 2_500_000_000)) == (0.0, 0.0, 2.5)


def test_decoding() -> None:
    """A record's rows, time and mark; a tick has no rows."""
    chunk = readings_chunk(5, ("a", 1, 3))
    data = record_of(chunk).SerializeToString()
    assert decode("readings", 0, 5, data, None) == chunk
    assert position_of("readings", 5, data) == chunk.position
    tick = journal_pb2.ReadingsRecord(schema=SCHEMA_VERSION, generation=1, now_unix_ns=START)
    found = decode("readings", 0, 6, tick.SerializeToString(), None)
    assert isinstance(found, Chunk)
    assert (found.rows.num_rows, found.now_unix_ns) == (0, START)
    window = windows_chunk(3, ("a", 1, 1))
    record = journal_pb2.WindowsRecord(
        schema=SCHEMA_VERSION, generation=1, count=1, rows=encode_rows(window.rows)
    )
    found = decode("windows", 0, 3, record.SerializeToString(), None)
    assert isinstance(found, Chunk)
    assert found.rows.num_rows == 1


def test_a_damaged_record_is_not_the_end() -> None:
    """It becomes a dead letter; what follows is delivered."""
    found = decode("readings", 0, 5, b"\xff\xff", Position(3, 4, "aa"))
    assert isinstance(found, Damaged)
    assert (found.chunk.generation, found.chunk.seq, found.chunk.rows.num_rows) == (3, 5, 0)
    record = record_of(readings_chunk(6, ("a", 1, 3)))
    record.rows = record.rows[:40]
    found = decode("readings", 0, 6, record.SerializeToString(), None)
    assert isinstance(found, Damaged)
    assert found.chunk.append_id == record.append_id.hex()


def test_a_newer_journal_stops_the_sink() -> None:
    """Skipping what only a newer version can read would lose it."""
    record = record_of(readings_chunk(5, ("a", 1, 3)))
    record.schema = SCHEMA_VERSION + 1
    with pytest.raises(TerminalSinkError, match="upgrade"):
        decode("readings", 0, 5, record.SerializeToString(), None)
