"""The spool: a bounded ring of readings on disk.

Files in the spool's folder
  spool.json                     epoch, when it began, readings captured before this epoch
  <epoch>-<first seq>.seg        segments of the current epoch, in order of first seq

A segment is a run of blocks, one for each commit:
  u32 length | u32 crc32 of payload | payload (a serialised ReadingBatch)
both integers little-endian.

Invariants
  S1  Blocks hold consecutive sequence numbers; a segment's name is its first.
  S2  `head` counts only what has been fsync'd. Nothing else is served.
  S3  spool.json is replaced atomically; segments of another epoch than its
      are leftovers and are removed on opening.
  S4  On opening, the last segment is cut at its first incomplete or damaged
      block: what follows was never fsync'd, or is lost to the medium; if it
      had been served, the follower's cursor is past the head and a new epoch
      begins.
  S5  A damaged block in an earlier segment loses the rest of that segment:
      readers get a gap, never wrong values.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from wire.gen.gaugeway.readings.v1 import readings_pb2
from wire.ids import format_epoch, new_epoch

_BLOCK: Final = struct.Struct("<II")
_SEGMENTS: Final = 16  # the ring loses one sixteenth of its span at a time


@dataclass(frozen=True, slots=True)
class Captured:
    """One reading before it has a sequence number. Time in Unix ns, UTC."""

    metric: str
    unit: str
    time_unix_ns: int
    value: float
    quality: int = 0


@dataclass(frozen=True, slots=True)
class Meta:
    """What spool.json holds."""

    epoch: int
    captured_before: int  # readings captured before this epoch's first


def encode_batch(epoch: int, first_seq: int, readings: Sequence[Captured]) -> bytes:
    """Return a serialised ReadingBatch of `readings`, numbered from `first_seq`."""
    table: dict[tuple[str, str], int] = {}
    batch = readings_pb2.ReadingBatch(epoch=epoch, first_seq=first_seq, count=len(readings))
    batch.series_index.extend(table.setdefault((r.metric, r.unit), len(table)) for r in readings)
    batch.time_unix_ns.extend(r.time_unix_ns for r in readings)
    batch.value.extend(r.value for r in readings)
    if any(r.quality for r in readings):
        batch.quality = bytes(r.quality for r in readings)
    for metric, unit in table:
        batch.series.add(metric=metric, unit=unit)
    return batch.SerializeToString()


def decode_batch(batch: readings_pb2.ReadingBatch) -> list[Captured]:
    """Return the readings of a batch."""
    quality = batch.quality or bytes(batch.count)
    return [
        Captured(batch.series[index].metric, batch.series[index].unit, time, value, flag)
        for index, time, value, flag in zip(
            batch.series_index, batch.time_unix_ns, batch.value, quality, strict=True
        )
    ]


class Spool:
    """The writing side: one process owns it. Not thread-safe."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        """Open or create the spool; cut a torn tail (S4)."""
        self.folder = folder
        self._segment_bytes = max(limit_bytes // _SEGMENTS, 4096)
        self._limit_bytes = limit_bytes
        folder.mkdir(parents=True, exist_ok=True)
        meta = read_meta(folder)
        if meta is None:
            meta = Meta(new_epoch(), 0)
            _write_meta(folder, meta)
        self._meta = meta
        self._file: BinaryIO | None = None
        self._remove_leftovers()
        self.head = self._cut_torn_tail()
        self.boot_seq = self.head
        self.oldest = self._first_seqs()[0] if self._first_seqs() else 1

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return self._meta.epoch

    @property
    def captured(self) -> int:
        """Readings captured over all epochs, as far as they are committed."""
        return self._meta.captured_before + self.head

    def commit(self, readings: Sequence[Captured]) -> None:
        """Append `readings` and fsync; only then does `head` rise."""
        if not readings:
            return
        payload = encode_batch(self.epoch, self.head + 1, readings)
        file = self._open_for_append()
        file.write(_BLOCK.pack(len(payload), zlib.crc32(payload)) + payload)
        file.flush()
        os.fdatasync(file.fileno())
        self.head += len(readings)
        self._evict()

    def begin_epoch(self) -> None:
        """Begin a new epoch: a follower knows numbers that this spool never reached.

        The spool was rolled back. Readings captured since this process opened
        it carry numbers that meant others before, and move to the new epoch;
        older ones had been offered under the old numbers and are dropped.
        """
        moved = [
            reading
            for batch in read_batches(self.folder, self._meta)
            for seq, reading in enumerate(decode_batch(batch), start=batch.first_seq)
            if seq > self.boot_seq
        ]
        self._close()
        captured = self.captured
        meta = Meta(new_epoch(), captured - len(moved))
        if moved:
            payload = encode_batch(meta.epoch, 1, moved)
            _write_synced(
                self.folder / _segment_name(meta.epoch, 1),
                _BLOCK.pack(len(payload), zlib.crc32(payload)) + payload,
            )
        _write_meta(self.folder, meta)
        self._meta = meta
        self._remove_leftovers()
        self.head, self.oldest, self.boot_seq = len(moved), 1, 0

    def close(self) -> None:
        """Close the segment that is written."""
        self._close()

    def reader(self, after: int) -> SpoolReader:
        """Return a reader of what follows sequence number `after`."""
        return SpoolReader(self, after)

    def last_time_unix_ns(self) -> int | None:
        """Return the event time of the newest committed reading, None if there is none."""
        last = None
        for batch in read_batches(self.folder, self._meta, from_seq=max(self.head, 1)):
            last = batch.time_unix_ns[-1]
        return last

    def _first_seqs(self) -> list[int]:
        return _segments(self.folder, self.epoch)

    def _open_for_append(self) -> BinaryIO:
        if self._file is not None and self._file.tell() >= self._segment_bytes:
            self._close()
        if self._file is None:
            firsts = self._first_seqs()
            path = self.folder / _segment_name(self.epoch, firsts[-1] if firsts else self.head + 1)
            if firsts and path.stat().st_size >= self._segment_bytes:
                path = self.folder / _segment_name(self.epoch, self.head + 1)
            self._file = path.open("ab")
            _sync_folder(self.folder)
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _evict(self) -> None:
        firsts = self._first_seqs()
        sizes = [(self.folder / _segment_name(self.epoch, first)).stat().st_size for first in firsts]
        total = sum(sizes)
        while len(firsts) > 1 and total > self._limit_bytes:
            (self.folder / _segment_name(self.epoch, firsts.pop(0))).unlink()
            total -= sizes.pop(0)
        self.oldest = firsts[0]

    def _remove_leftovers(self) -> None:
        prefix = format_epoch(self.epoch)
        for path in [*self.folder.glob("*.seg"), *self.folder.glob("*.new")]:
            if not path.name.startswith(prefix) or path.suffix == ".new":
                path.unlink()

    def _cut_torn_tail(self) -> int:
        firsts = self._first_seqs()
        if not firsts:
            return 0
        path = self.folder / _segment_name(self.epoch, firsts[-1])
        head, end = firsts[-1] - 1, 0
        for batch, position in _blocks(path):
            head, end = batch.first_seq + batch.count - 1, position
        if end < path.stat().st_size:
            with path.open("r+b") as file:
                file.truncate(end)
                os.fsync(file.fileno())
        if end == 0:
            path.unlink()
        return head


class SpoolReader:
    """Reads a spool in order from a cursor; keeps its place in the segment."""

    def __init__(self, spool: Spool, after: int) -> None:
        self._spool = spool
        self._next = after + 1
        self._segment: int | None = None
        self._offset = 0

    def read(self) -> readings_pb2.Frame | None:
        """Return the next frame (readings or a gap), or None when everything committed was read."""
        spool = self._spool
        if self._next > spool.head:
            return None
        firsts = _segments(spool.folder, spool.epoch)
        if self._next < firsts[0]:
            return self._gap(firsts[0] - 1, readings_pb2.Gap.EVICTED)
        segment = max(first for first in firsts if first <= self._next)
        if segment != self._segment:
            self._segment, self._offset = segment, 0
        path = spool.folder / _segment_name(spool.epoch, segment)
        for batch, position in _blocks(path, self._offset):
            self._offset = position
            last = batch.first_seq + batch.count - 1
            if last >= self._next:
                frame = readings_pb2.Frame(readings=_from_seq(batch, self._next))
                self._next = last + 1
                return frame
        later = [first for first in firsts if first > segment]
        return self._gap(later[0] - 1 if later else spool.head, readings_pb2.Gap.CORRUPT)

    def _gap(self, last: int, reason: readings_pb2.Gap.Reason) -> readings_pb2.Frame:
        gap = readings_pb2.Gap(epoch=self._spool.epoch, first_seq=self._next, last_seq=last, reason=reason)
        self._next = last + 1
        return readings_pb2.Frame(gap=gap)


def read_meta(folder: Path) -> Meta | None:
    """Return what spool.json holds, None if there is none."""
    try:
        data = json.loads((folder / "spool.json").read_text())
    except FileNotFoundError:
        return None
    return Meta(int(data["epoch"], 16), int(data["captured_before"]))


def read_batches(folder: Path, meta: Meta, from_seq: int = 0) -> Iterator[readings_pb2.ReadingBatch]:
    """Yield every readable batch from the segment that holds `from_seq` on, oldest first."""
    firsts = _segments(folder, meta.epoch)
    start = max((first for first in firsts if first <= from_seq), default=0)
    for first in firsts:
        if first >= start:
            for batch, _ in _blocks(folder / _segment_name(meta.epoch, first)):
                yield batch


def _segment_name(epoch: int, first_seq: int) -> str:
    return f"{format_epoch(epoch)}-{first_seq:020d}.seg"


def _segments(folder: Path, epoch: int) -> list[int]:
    return sorted(int(path.stem.partition("-")[2]) for path in folder.glob(f"{format_epoch(epoch)}-*.seg"))


def _blocks(path: Path, offset: int = 0) -> Iterator[tuple[readings_pb2.ReadingBatch, int]]:
    """Yield (batch, position after it) from `offset` until the first block that is cut or damaged."""
    with path.open("rb") as file:
        file.seek(offset)
        while len(header := file.read(_BLOCK.size)) == _BLOCK.size:
            length, crc = _BLOCK.unpack(header)
            payload = file.read(length)
            if len(payload) < length or zlib.crc32(payload) != crc:
                return
            offset += _BLOCK.size + length
            yield readings_pb2.ReadingBatch.FromString(payload), offset


def _from_seq(batch: readings_pb2.ReadingBatch, seq: int) -> readings_pb2.ReadingBatch:
    skip = seq - batch.first_seq
    if skip <= 0:
        return batch
    cut = readings_pb2.ReadingBatch(epoch=batch.epoch, first_seq=seq, count=batch.count - skip)
    cut.series.extend(batch.series)
    cut.series_index.extend(batch.series_index[skip:])
    cut.time_unix_ns.extend(batch.time_unix_ns[skip:])
    cut.value.extend(batch.value[skip:])
    cut.quality = batch.quality[skip:]
    return cut


def _write_meta(folder: Path, meta: Meta) -> None:
    text = json.dumps({"epoch": format_epoch(meta.epoch), "captured_before": meta.captured_before})
    _write_synced(folder / "spool.json", text.encode())


def _write_synced(path: Path, data: bytes) -> None:
    """Replace `path` atomically and durably."""
    temporary = path.with_suffix(".new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
