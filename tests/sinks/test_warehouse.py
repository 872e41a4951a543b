"""The local warehouse: files, views, merging, crashes at every step, retention."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from ext_proc.sinks.errors import RetryableSinkError, TerminalSinkError
from ext_proc.sinks.model import Chunk, Kind, Position
from ext_proc.sinks.tables import TABLES
from ext_proc.sinks.warehouse import files, query
from ext_proc.sinks.warehouse.config import WarehouseTarget
from ext_proc.sinks.warehouse.files import files_of
from ext_proc.sinks.warehouse.query import connect_views, windows_of
from ext_proc.sinks.warehouse.spans import DataFile, Span, mergeable, newest, rewind_of, split_contained
from ext_proc.sinks.warehouse.target import WarehouseSink
from ext_proc.sinks.warehouse.tidy import Keep, Tidy
from tests.journal.support import NS
from tests.sinks.support import START, ReadingKey, expected_keys, readings_chunk, windows_chunk

HOUR_NS = 3600 * NS
HOUR_START = START // HOUR_NS * HOUR_NS


class CrashError(BaseException):
    """The process died here. Not an Exception: nothing may handle it."""


class Disk:
    """Counts what changes the disk; from the n-th such call on nothing does: the process is dead.

    fsync, rename, unlink, and the opening of files by Parquet's writer.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps = 0
        self.die_at: int | None = None
        for owner, name in (
            (os, "fsync"),
            (Path, "replace"),
            (Path, "unlink"),
            (Path, "rmdir"),
            (pq, "write_table"),
        ):
            monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, act: Any) -> Any:
        def step(*args: Any, **options: Any) -> Any:
            self.steps += 1
            if self.die_at is not None and self.steps >= self.die_at:
                raise CrashError
            return act(*args, **options)

        return step

    def crash_points(self, steps: int) -> Iterator[int]:
        """Yield each step of an act that has `steps`, with the counter at 0 and the disk dying there."""
        for step in range(1, steps + 1):
            self.steps, self.die_at = 0, step
            yield step

    def revive(self) -> None:
        """Let everything work again."""
        self.die_at = None


def sink_in(directory: Path, **options: Any) -> WarehouseSink:
    """Return a warehouse that never lacks room, unless `options` say so."""
    settings: dict[str, Any] = {"dir": directory, "min_free_bytes": 0} | options
    return WarehouseSink(WarehouseTarget(**settings))


async def deliver(directory: Path, *batches: list[Chunk]) -> None:
    """Deliver batches as one life of the process."""
    sink = sink_in(directory)
    await sink.start()
    try:
        for batch in batches:
            await sink.deliver(batch)
    finally:
        await sink.close()


def readings_in(directory: Path) -> list[ReadingKey]:
    """Return the keys of all readings that the view shows."""
    with connect_views(directory) as connection:
        sql = "SELECT sensor_id, epoch, seq FROM readings ORDER BY ALL"
        found: list[ReadingKey] = connection.execute(sql).fetchall()
        return found


def names_in(directory: Path) -> list[str]:
    """Return the names of all readings files, without folders."""
    return sorted(file.span.name for file in files_of(directory, "readings"))


def test_names_say_what_is_inside() -> None:
    """Names are read back as they were written; other files are none of ours."""
    spans = [Span(0, 1, 0, 1, 500), Span(12, 3, 2, 41, 41)]
    assert [span.name for span in spans] == ["s0-g1-1-500.parquet", "s12-g3r2-41-41.parquet"]
    assert [Span.parse(span.name) for span in spans] == spans
    for other in (".s0-g1-1-500.parquet.tmp", "s0-g1-1-500.parquet.bak", "readme", "s0-g1-1.parquet"):
        assert Span.parse(other) is None


def test_contained_files_are_left_out() -> None:
    """By shard, generation, rewind and folder; what only touches is not contained."""

    def file(first: int, last: int, folder: str = "h1", generation: int = 1) -> DataFile:
        return DataFile(folder, Span(0, generation, 0, first, last))

    covering, inside, first, after = file(1, 30), file(11, 20), file(1, 10), file(31, 40)
    others = [file(5, 6, generation=2), file(5, 6, folder="h2")]
    kept, contained = split_contained([after, inside, covering, first, *others])
    assert sorted(kept, key=str) == sorted([covering, after, *others], key=str)
    assert contained == [(first, covering), (inside, covering)]
    assert newest([covering, after, *others])[0] == others[0]


def test_which_files_are_merged() -> None:
    """An hour that goes on: runs of enough small files. One that is over: all that fits together."""

    def file(first: int, size: int) -> DataFile:
        return DataFile("h", Span(0, 1, 0, first, first), size)

    kept = [file(1, 5), file(2, 900), file(3, 5), file(4, 5), file(5, 5)]
    limits = {"small_bytes": 10, "small_files": 3, "most_bytes": 1000}
    assert mergeable(kept, closed=False, **limits) == [kept[2:]]
    assert mergeable(kept[:4], closed=False, **limits) == []
    assert mergeable(kept, closed=True, **limits) == [kept]
    assert mergeable(kept, closed=True, small_bytes=10, small_files=3, most_bytes=905) == [kept[:2], kept[2:]]
    other = DataFile("h", Span(0, 2, 0, 6, 6), 5)
    assert mergeable([file(1, 5), other], closed=True, **limits) == []


def test_what_counts_as_a_rewind() -> None:
    """Sequences that were used already, in a generation that is not newer."""
    before = Span(0, 2, 1, 10, 20)
    assert rewind_of(None, readings_chunk(1)) == 0
    assert rewind_of(before, readings_chunk(21, generation=2)) == 1
    assert rewind_of(before, readings_chunk(5, generation=3)) == 1
    assert rewind_of(before, readings_chunk(20, generation=2)) == 2
    assert rewind_of(before, readings_chunk(30, generation=1)) == 2


def test_views_before_there_is_anything(tmp_path: Path) -> None:
    """The three views exist with their columns, and are empty, also before the folder exists."""
    with connect_views(tmp_path / "nothing") as connection:
        of_view: dict[str, Kind] = {
            "readings": "readings",
            "windows": "windows",
            "windows_latest": "windows",
        }
        for view, kind in of_view.items():
            answer = connection.execute(f"SELECT * FROM {view}")
            assert [column[0] for column in answer.description] == TABLES[kind].names
            assert answer.fetchall() == []
    assert windows_of(tmp_path, "a", "t", 1, since_unix_ns=0, until_unix_ns=1, limit=5) == []


async def test_rows_can_be_queried_at_once(tmp_path: Path) -> None:
    """Nanoseconds, nulls and names as the tables promise; the same types with and without files."""
    await deliver(tmp_path, [readings_chunk(1, ("a", 1, 3)), readings_chunk(4, ("b", 1, 2))])
    await deliver(tmp_path, [windows_chunk(1, ("a", 0, 1), ("a", 1, 1), count=1)])
    with connect_views(tmp_path) as connection, connect_views(tmp_path / "none") as empty:
        for view in ("readings", "windows", "windows_latest"):
            found, promised = (c.execute(f"DESCRIBE {view}").fetchall() for c in (connection, empty))
            assert found == promised
        rows = connection.execute(
            "SELECT seq, epoch_ns(time), value, verdict, journal_seq FROM readings"
        ).fetchall()
        assert rows[0] == (1, START + NS, 1.0, "OK", 1)
        assert len(rows) == 5
        window = connection.execute("SELECT stddev, epoch_ns(last_time), row_key FROM windows").fetchone()
        assert window == (None, START + 2, f"a/temperature/Cel/10000/{START}/1/1")
    assert names_in(tmp_path) == ["s0-g1-1-4.parquet"]


async def test_names_are_the_cursor(tmp_path: Path) -> None:
    """A new life goes on after the newest file; each shard and kind has its own."""
    await deliver(
        tmp_path,
        [readings_chunk(3, ("a", 1, 1)), readings_chunk(7, ("a", 2, 1))],
        [readings_chunk(9, ("b", 1, 1), shard=1)],
    )
    sink = sink_in(tmp_path)
    await sink.start()
    assert await sink.cursor("readings", 0) == readings_chunk(7).position
    assert await sink.cursor("readings", 1) == Position(1, 9, "01000009")
    assert await sink.cursor("windows", 0) is None
    await sink.close()


async def test_a_commit_is_cut_at_the_hour(tmp_path: Path) -> None:
    """A file belongs to the hour of the journal's time of all its records."""
    times = (HOUR_START + HOUR_NS - 2, HOUR_START + HOUR_NS - 1, HOUR_START + HOUR_NS)
    await deliver(
        tmp_path, [readings_chunk(n, ("a", n, 1), now_unix_ns=now) for n, now in enumerate(times, start=1)]
    )
    first, second = files_of(tmp_path, "readings")
    assert (first.span.name, second.span.name) == ("s0-g1-1-2.parquet", "s0-g1-3-3.parquet")
    assert files.hour_of(second.folder) - files.hour_of(first.folder) == timedelta(hours=1)
    assert readings_in(tmp_path) == expected_keys("a", 1, 3)


async def test_a_reading_that_comes_again_is_shown_once(tmp_path: Path) -> None:
    """In a newer generation, and after the journal began again under the same one."""
    await deliver(tmp_path, [readings_chunk(1, ("a", 1, 10))])
    await deliver(tmp_path, [readings_chunk(2, ("a", 5, 10), generation=2)])
    assert readings_in(tmp_path) == expected_keys("a", 1, 14)
    await deliver(tmp_path, [readings_chunk(1, ("a", 1, 20), generation=1)])
    assert names_in(tmp_path) == ["s0-g1-1-1.parquet", "s0-g1r1-1-1.parquet", "s0-g2-2-2.parquet"]
    assert readings_in(tmp_path) == expected_keys("a", 1, 20)
    with connect_views(tmp_path) as connection:
        shown = connection.execute(
            "SELECT count(*), min(generation), max(generation) FROM readings"
        ).fetchone()
    assert shown == (20, 1, 1)


async def test_the_latest_window_is_the_newest_truth(tmp_path: Path) -> None:
    """The highest revision; a newer generation before any revision of an older one; once after a rewind."""
    await deliver(
        tmp_path, [windows_chunk(1, ("a", 0, 1), ("a", 1, 1))], [windows_chunk(2, ("a", 0, 2), count=12)]
    )

    def latest() -> list[tuple[Any, ...]]:
        with connect_views(tmp_path) as connection:
            sql = 'SELECT generation, revision, "count" FROM windows_latest ORDER BY window_start'
            rows: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
            return rows

    def every() -> int:
        with connect_views(tmp_path) as connection:
            return int(connection.execute("SELECT count(*) FROM windows").fetchall()[0][0])

    assert (latest(), every()) == ([(1, 2, 12), (1, 1, 10)], 3)
    await deliver(tmp_path, [windows_chunk(3, ("a", 0, 1), generation=2, count=13)])
    assert (latest(), every()) == ([(2, 1, 13), (1, 1, 10)], 4)
    await deliver(tmp_path, [windows_chunk(1, ("a", 1, 1), ("a", 2, 1), generation=2)])
    assert (latest(), every()) == ([(2, 1, 13), (2, 1, 10), (2, 1, 10)], 6)
    await deliver(tmp_path, [windows_chunk(1, ("a", 2, 1), generation=2)])
    assert every() == 6


async def test_only_one_process_writes(tmp_path: Path) -> None:
    """A second writer waits, and says why; once the first is gone it may write."""
    first, second = sink_in(tmp_path), sink_in(tmp_path)
    await first.start()
    with pytest.raises(RetryableSinkError, match="another process"):
        await second.start()
    await first.close()
    await second.start()
    await second.close()


async def test_a_full_disk_stops_it_and_it_says_so(tmp_path: Path) -> None:
    """Below the floor nothing is written: the rows wait in the journal."""
    sink = sink_in(tmp_path, min_free_bytes=1 << 60)
    await sink.start()
    with pytest.raises(RetryableSinkError, match="below the floor"):
        await sink.deliver([readings_chunk(1, ("a", 1, 1))])
    await sink.close()
    assert readings_in(tmp_path) == []


async def test_a_folder_that_is_none(tmp_path: Path) -> None:
    """What only a person can put right is terminal."""
    (tmp_path / "file").touch()
    with pytest.raises(TerminalSinkError, match="cannot be written"):
        await sink_in(tmp_path / "file" / "warehouse").start()


async def test_a_commit_that_dies_at_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever step was the last: the next life goes on from the names, and every row is there once."""
    disk = Disk(monkeypatch)
    batch = [
        readings_chunk(1, ("a", 1, 5), now_unix_ns=HOUR_START + HOUR_NS - 1),
        readings_chunk(2, ("a", 6, 5), now_unix_ns=HOUR_START + HOUR_NS),
    ]
    await deliver(tmp_path / "whole", batch)
    whole = disk.steps
    assert whole > 10
    for step in disk.crash_points(whole):
        directory = tmp_path / str(step)
        try:
            await deliver(directory, batch)
        except CrashError:
            assert set(readings_in(directory)) <= set(expected_keys("a", 1, 10))
        disk.revive()
        sink = sink_in(directory)
        await sink.start()
        cursor = await sink.cursor("readings", 0)
        rest = [chunk for chunk in batch if cursor is None or chunk.seq > cursor.seq]
        if rest:
            await sink.deliver(rest)
        await sink.close()
        assert readings_in(directory) == expected_keys("a", 1, 10)
        assert not list(directory.rglob("*.tmp"))


async def test_merging_that_dies_at_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever step was the last: readers see every row once, then and after the next life tidied up."""
    disk = Disk(monkeypatch)
    batches = [[readings_chunk(seq, ("a", seq, 1))] for seq in range(1, 7)]

    async def filled(name: str) -> Path:
        disk.revive()
        await deliver(tmp_path / name, *batches)
        return tmp_path / name

    def tidy(directory: Path) -> None:
        keeper = Tidy(directory, compact_files=3, grace_s=-1.0)
        keeper.look_at_all()
        keeper.compact()

    directory = await filled("whole")
    disk.steps = 0
    tidy(directory)
    whole = disk.steps
    assert whole >= 6 + 3
    assert names_in(directory) == ["s0-g1-1-6.parquet"]
    assert readings_in(directory) == expected_keys("a", 1, 6)
    for step in range(1, whole + 1):
        directory = await filled(str(step))
        disk.steps, disk.die_at = 0, step
        with pytest.raises(CrashError):
            tidy(directory)
        assert readings_in(directory) == expected_keys("a", 1, 6)
        disk.revive()
        sink = sink_in(directory)
        await sink.start()
        assert await sink.cursor("readings", 0) == readings_chunk(6).position
        await sink.deliver([readings_chunk(7, ("a", 7, 1))])
        await sink.close()
        tidy(directory)
        assert readings_in(directory) == expected_keys("a", 1, 7)
        assert not list(directory.rglob("*.tmp"))


async def test_merged_files_stay_while_readers_may_want_them(tmp_path: Path) -> None:
    """A connection made before a merge still answers; within the grace nothing is removed."""
    await deliver(tmp_path, *([readings_chunk(seq, ("a", seq, 1))] for seq in range(1, 7)))
    with connect_views(tmp_path) as connection:
        keeper = Tidy(tmp_path, compact_files=3, grace_s=60.0)
        keeper.look_at_all()
        keeper.compact()
        assert connection.execute("SELECT count(*) FROM readings").fetchall() == [(6,)]
    assert len(names_in(tmp_path)) == 7
    assert readings_in(tmp_path) == expected_keys("a", 1, 6)
    keeper.compact()
    assert len(names_in(tmp_path)) == 7
    merged = next(
        file for file in files_of(tmp_path, "readings") if file.span.last == 6 and file.span.first == 1
    )
    table = pq.read_table(tmp_path / merged.path, partitioning=None)
    assert table.schema.equals(TABLES["readings"])
    assert table.column("journal_seq").to_pylist() == [1, 2, 3, 4, 5, 6]
    assert files.append_id(tmp_path, merged) == readings_chunk(6).append_id


async def test_old_hours_are_removed(tmp_path: Path) -> None:
    """By age, then by size, the oldest first; but never the file that is the cursor."""
    now = datetime.now(UTC)
    hours = [int((now - timedelta(hours=back)).timestamp()) * NS for back in (100, 50, 3, 2)]
    await deliver(
        tmp_path,
        *([readings_chunk(n, ("a", n, 1), now_unix_ns=when)] for n, when in enumerate(hours, start=1)),
        [windows_chunk(1, ("a", 0, 1), now_unix_ns=hours[0])],
    )
    keeper = Tidy(tmp_path, compact_files=60)
    size = max(file.size for file in files_of(tmp_path, "readings"))
    keeper.expire(Keep(days=3.0, bytes=1 << 40))
    assert readings_in(tmp_path) == expected_keys("a", 2, 4)
    assert len(files.folders(tmp_path, "readings")) == 3
    keeper.expire(Keep(days=3.0, bytes=size * 2))
    assert len(readings_in(tmp_path)) < 3
    keeper.expire(Keep(days=3.0, bytes=1))
    assert readings_in(tmp_path) == expected_keys("a", 4, 4)
    assert len(files_of(tmp_path, "windows")) == 1


async def test_windows_of_a_sensor(tmp_path: Path) -> None:
    """The newest so many of a span, latest revisions, oldest first, also those of a backlog."""
    long_after = START + 50 * HOUR_NS
    await deliver(
        tmp_path,
        [windows_chunk(1, *(("a", number, 1) for number in range(100)), now_unix_ns=START + 1000 * NS)],
        [windows_chunk(2, ("a", 95, 2), ("b", 95, 1), now_unix_ns=long_after, count=12)],
    )

    def ask(since: int, until: int, limit: int) -> list[tuple[int, int]]:
        rows = windows_of(
            tmp_path,
            "a",
            "temperature",
            10_000,
            since_unix_ns=START + since * 10 * NS,
            until_unix_ns=START + until * 10 * NS,
            limit=limit,
        )
        assert all(list(row) == TABLES["windows"].names for row in rows)
        began = datetime.fromtimestamp(START // NS, UTC)
        return [(int((row["window_start"] - began).total_seconds()) // 10, row["count"]) for row in rows]

    assert ask(0, 100, 3) == [(97, 10), (98, 10), (99, 10)]
    assert ask(94, 97, 10) == [(94, 10), (95, 12), (96, 10)]
    assert len(ask(0, 100, 1000)) == 100
    assert ask(1_000_000, 2_000_000, 10) == []


async def test_a_file_that_goes_while_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listed, then merged away before it is read: asked once more."""
    await deliver(tmp_path, [windows_chunk(1, ("a", 0, 1))], [windows_chunk(2, ("a", 1, 1))])
    listed = files_of
    lists = 0

    def list_then_merge(*args: Any, **options: Any) -> list[DataFile]:
        nonlocal lists
        lists += 1
        found = listed(*args, **options)
        if found:
            keeper = Tidy(tmp_path, compact_files=2, grace_s=-1.0)
            keeper.look_at_all()
            keeper.compact()
        return found

    monkeypatch.setattr(query, "files_of", list_then_merge)
    span = {"since_unix_ns": START, "until_unix_ns": START + HOUR_NS, "limit": 10}
    assert len(windows_of(tmp_path, "a", "temperature", 10_000, **span)) == 2
    assert lists == 4
    with pytest.raises(duckdb.IOException):
        duckdb.execute(f"SELECT * FROM read_parquet('{tmp_path}/none.parquet')")
