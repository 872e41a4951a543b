"""The spool: epochs, rollback, torn ends, bounds. See test_spool_model.py for crashes at any byte."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hyperv.guest.segments import Captured, decode_batch, first_seqs, segment_name
from hyperv.guest.spool import Spool, SpoolBusyError, SpoolReader, read_batches, read_meta
from wire.frames import MAX_FRAME_BYTES
from wire.gen.gaugeway.readings.v1 import readings_pb2

LIMIT = 1 << 20

Opened = Callable[[Path, int], Spool]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Open spools that are closed at the end."""
    spools: list[Spool] = []

    def open_one(folder: Path, limit_bytes: int) -> Spool:
        spools.append(Spool(folder, limit_bytes))
        return spools[-1]

    yield open_one
    for spool in spools:
        spool.close()


def some(first: int, last: int) -> list[Captured]:
    """Return readings whose value is their number."""
    return [Captured("temperature", "Cel", seq * 1000, float(seq)) for seq in range(first, last + 1)]


def read_all(reader: SpoolReader) -> list[readings_pb2.Frame]:
    """Return every frame that there is."""
    frames: list[readings_pb2.Frame] = []
    while (frame := reader.read()) is not None:
        frames.append(frame)
    return frames


def values(frames: list[readings_pb2.Frame]) -> list[float]:
    """Return the values of all readings."""
    return [reading.value for frame in frames for reading in decode_batch(frame.readings)]


def segment(spool: Spool) -> Path:
    """Return the newest segment."""
    return spool.folder / segment_name(spool.epoch, first_seqs(spool.folder, spool.epoch)[-1])


def test_a_reader_goes_over_the_boundaries_of_segments_and_follows_the_head(
    tmp_path: Path, opened: Opened
) -> None:
    """From any number, in order, and on from there when more is committed."""
    spool = opened(tmp_path, 65_536)
    for first in range(1, 1001, 50):
        spool.commit(some(first, first + 49))
    assert len(first_seqs(tmp_path, spool.epoch)) > 3
    for after in (0, 1, 49, 50, 51, 333, 999):
        assert values(read_all(spool.reader(after))) == [float(seq) for seq in range(after + 1, 1001)]
    reader = spool.reader(990)
    read_all(reader)
    assert reader.at_head
    spool.commit(some(1001, 1002))
    assert values(read_all(reader)) == [1001.0, 1002.0]


def test_what_was_evicted_is_a_gap(tmp_path: Path, opened: Opened) -> None:
    """A follower who is too far behind is told from where to where."""
    spool = opened(tmp_path, 65_536)
    reader = spool.reader(7)
    for first in range(1, 10_001, 100):
        spool.commit(some(first, first + 99))
    oldest = first_seqs(tmp_path, spool.epoch)[0]
    assert oldest > 1
    gap, *rest = read_all(reader)
    assert (gap.gap.epoch, gap.gap.first_seq, gap.gap.last_seq) == (spool.epoch, 8, oldest - 1)
    assert gap.gap.reason == readings_pb2.Gap.EVICTED
    assert values(rest) == [float(seq) for seq in range(oldest, 10_001)]


def test_a_damaged_block_is_a_gap_to_the_end_of_its_segment(tmp_path: Path, opened: Opened) -> None:
    """Never a wrong value."""
    spool = opened(tmp_path, 65_536)
    for first in range(1, 1001, 50):
        spool.commit(some(first, first + 49))
    firsts = first_seqs(tmp_path, spool.epoch)
    path = tmp_path / segment_name(spool.epoch, firsts[1])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    frames = read_all(spool.reader(0))
    [gap] = [frame.gap for frame in frames if frame.HasField("gap")]
    assert gap.reason == readings_pb2.Gap.CORRUPT
    assert firsts[1] < gap.first_seq <= gap.last_seq == firsts[2] - 1
    kept = [float(seq) for seq in range(1, 1001) if not gap.first_seq <= seq <= gap.last_seq]
    assert values([frame for frame in frames if not frame.HasField("gap")]) == kept


@pytest.mark.parametrize(
    "tail",
    [b"\x00" * 64, b"\xff" * 64, b"\x10", b"\xff\xff\xff\x00" + b"\x00" * 8],
    ids=["zeros", "ones", "a byte", "a length"],
)
def test_rubbish_behind_the_last_block_is_cut(tmp_path: Path, opened: Opened, tail: bytes) -> None:
    """A power loss leaves zeros, or anything; numbers go on behind what is whole."""
    spool = opened(tmp_path, LIMIT)
    spool.commit(some(1, 10))
    spool.close()
    with segment(spool).open("ab") as file:
        file.write(tail)
    again = opened(tmp_path, LIMIT)
    assert again.head == 10
    again.commit(some(11, 12))
    assert values(read_all(again.reader(0))) == [float(seq) for seq in range(1, 13)]


def test_what_is_found_is_synced_before_it_is_served(
    tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process before may have died between writing a block and its fsync (S2)."""
    before = opened(tmp_path, LIMIT)
    before.commit(some(1, 5))
    before.close()
    synced: set[int] = set()
    sync = os.fsync

    def noted(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    spool = opened(tmp_path, LIMIT)
    assert spool.head == 5
    assert segment(spool).stat().st_ino in synced


def test_numbers_go_on_where_even_the_first_block_of_the_only_segment_is_lost(
    tmp_path: Path, opened: Opened
) -> None:
    """The name of a segment says what its first number would have been, also after two openings."""
    spool = opened(tmp_path, 65_536)
    spool.commit(some(1, 100))
    spool.commit(some(101, 10_000))  # larger than the ring: all before it is evicted
    spool.commit(some(10_001, 10_001))
    spool.close()
    [*older, last] = first_seqs(tmp_path, spool.epoch)
    for first in older:
        (tmp_path / segment_name(spool.epoch, first)).unlink()
    (tmp_path / segment_name(spool.epoch, last)).write_bytes(b"rubbish")
    for _ in range(2):
        again = opened(tmp_path, 65_536)
        assert again.head == last - 1
        again.close()


def test_only_one_process_writes(tmp_path: Path, opened: Opened) -> None:
    """A second one is refused until the first has closed the spool."""
    spool = opened(tmp_path, LIMIT)
    with pytest.raises(SpoolBusyError, match="another process"):
        opened(tmp_path, LIMIT)
    spool.close()
    opened(tmp_path, LIMIT).close()


def test_frames_are_bounded_however_much_is_committed_at_once(tmp_path: Path, opened: Opened) -> None:
    """A backlog after a long sleep must not make a frame that no follower takes."""
    spool = opened(tmp_path, 1 << 26)
    backlog = some(1, 300_000)
    spool.commit(backlog)
    frames = read_all(spool.reader(0))
    assert max(frame.ByteSize() for frame in frames) < MAX_FRAME_BYTES / 10
    assert values(frames) == [reading.value for reading in backlog]


def test_a_rolled_back_spool_begins_a_new_epoch_for_who_knows_more(tmp_path: Path, opened: Opened) -> None:
    """Also if it captured past that number meanwhile: the same number means another reading now (S6)."""
    spool = opened(tmp_path / "spool", LIMIT)
    spool.commit(some(1, 50))
    spool.close()
    shutil.copytree(tmp_path / "spool", tmp_path / "snapshot")
    spool = opened(tmp_path / "spool", LIMIT)
    spool.commit(some(51, 100))
    read_all(spool.reader(50))
    assert spool.told(100)
    spool.close()

    shutil.rmtree(tmp_path / "spool")
    (tmp_path / "snapshot").rename(tmp_path / "spool")
    spool = opened(tmp_path / "spool", LIMIT)
    assert spool.told(50)
    spool.commit(some(1001, 1100))  # numbers 51 to 150
    assert not spool.told(100), "this spool never told anyone the number 100"
    stale = spool.reader(60)
    old = spool.epoch
    spool.begin_epoch()
    assert spool.epoch != old
    assert spool.captured == 150
    assert not spool.told(1), "nobody knows a number of the new epoch"
    assert stale.ended
    assert stale.read() is None
    assert values(read_all(spool.reader(0))) == [float(seq) for seq in range(1001, 1101)]
    assert not list(spool.folder.glob(f"{old:016x}-*"))
    spool.close()
    again = opened(tmp_path / "spool", LIMIT)
    assert (again.head, again.captured, again.told(100), again.told(101)) == (100, 150, True, False)


def test_an_epoch_that_was_not_finished_beginning_did_not_begin(tmp_path: Path, opened: Opened) -> None:
    """A crash between the new segment and spool.json leaves a leftover, which is removed."""
    spool = opened(tmp_path, LIMIT)
    spool.commit(some(1, 10))
    spool.close()
    leftover = tmp_path / segment_name(spool.epoch ^ 1, 1)
    leftover.write_bytes(b"x")
    (tmp_path / "spool.new").write_bytes(b"x")
    again = opened(tmp_path, LIMIT)
    assert (again.epoch, again.head) == (spool.epoch, 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["lock", "spool.json", segment_name(spool.epoch, 1)]
    )


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"epoch": "xyz", "captured_before": 0}', None])
def test_a_spool_whose_description_is_lost_begins_anew(
    tmp_path: Path, opened: Opened, text: str | None
) -> None:
    """A new epoch: numbers of the old one are never used again."""
    spool = opened(tmp_path, LIMIT)
    spool.commit(some(1, 10))
    spool.close()
    (tmp_path / "spool.json").unlink() if text is None else (tmp_path / "spool.json").write_text(text)
    again = opened(tmp_path, LIMIT)
    assert again.epoch != spool.epoch
    assert (again.head, again.captured) == (0, 0)


def test_the_newest_event_time_and_count_survive(tmp_path: Path, opened: Opened) -> None:
    """A replay goes on from them."""
    spool = opened(tmp_path, 65_536)
    assert spool.last_time_unix_ns() is None
    for first in range(1, 1001, 50):
        spool.commit(some(first, first + 49))
    spool.close()
    again = opened(tmp_path, 65_536)
    assert (again.last_time_unix_ns(), again.captured) == (1_000_000, 1000)


def test_a_spool_can_be_read_while_it_is_written(tmp_path: Path, opened: Opened) -> None:
    """`dump` reads whole blocks only, and needs no lock."""
    spool = opened(tmp_path, LIMIT)
    spool.commit(some(1, 10))
    with segment(spool).open("ab") as file:
        file.write(b"\x20\x00")  # the beginning of a block
    meta = read_meta(tmp_path)
    assert meta is not None
    assert [batch.count for batch in read_batches(tmp_path, meta)] == [10]
    assert read_meta(tmp_path / "nowhere") is None
