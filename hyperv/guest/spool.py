"""The spool: a bounded ring of readings on disk.

Files in the spool's folder
  spool.json                     epoch, when it began, readings captured before this epoch
  <epoch>-<first seq>.seg        segments of the current epoch, in order of first seq
  lock                           held by the one process that writes

Invariants
  S1  Blocks hold consecutive sequence numbers; a segment's name is its first.
  S2  `head` counts only what has been fsync'd. Nothing else is served.
  S3  spool.json is replaced atomically; segments of another epoch than its
      are leftovers and are removed on opening.
  S4  On opening, the last segment is cut at its first incomplete or damaged
      block: what follows was never fsync'd, or is lost to the medium. It stays,
      if only as a name, so that its numbers are known.
  S5  A damaged block in an earlier segment loses the rest of that segment:
      readers get a gap, never wrong values.
  S6  A follower can only know numbers that were here when the spool was
      opened or that were read since. One that knows others followed a spool
      that has been rolled back: a new epoch must begin (`told`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from hyperv.guest.segments import (
    Captured,
    decode_batch,
    encode_blocks,
    first_seqs,
    from_seq,
    read_blocks,
    segment_name,
    sync_folder,
    write_synced,
)
from wire.gen.gaugeway.readings.v1 import readings_pb2
from wire.ids import format_epoch, new_epoch

_SEGMENTS: Final = 16  # the ring loses one sixteenth of its span at a time


class SpoolBusyError(RuntimeError):
    """Another process writes to the spool."""


@dataclass(frozen=True, slots=True)
class Meta:
    """What spool.json holds."""

    epoch: int
    captured_before: int  # readings captured before this epoch's first


class Spool:
    """The writing side: one process owns it. Not thread-safe."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        """Open or create the spool; cut a torn tail (S4). Raises SpoolBusyError."""
        self.folder = folder
        self._segment_bytes = max(limit_bytes // _SEGMENTS, 4096)
        self._limit_bytes = limit_bytes
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(folder / "lock")
        meta = read_meta(folder)
        if meta is None:
            meta = Meta(new_epoch(), 0)
            _write_meta(folder, meta)
        self._meta = meta
        self._file: BinaryIO | None = None
        self._remove_leftovers()
        self.head = self._cut_torn_tail()
        self._boot_seq = self.head
        self._read_seq = 0  # the highest that was read since the spool was opened, or the epoch began

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
        file = self._open_for_append()
        file.write(encode_blocks(self.epoch, self.head + 1, readings))
        file.flush()
        os.fdatasync(file.fileno())
        self.head += len(readings)
        self._evict()

    def told(self, seq: int) -> bool:
        """Say whether a follower can have learnt the number `seq` of this epoch from this spool (S6)."""
        return seq <= max(self._boot_seq, self._read_seq)

    def begin_epoch(self) -> None:
        """Begin a new epoch: a follower knows numbers that this spool never told.

        The spool was rolled back. Readings captured since this process opened
        it carry numbers that meant others before, and move to the new epoch;
        older ones had been offered under the old numbers and are dropped.
        """
        moved = [
            reading
            for batch in read_batches(self.folder, self._meta)
            for seq, reading in enumerate(decode_batch(batch), start=batch.first_seq)
            if seq > self._boot_seq
        ]
        self._close()
        captured = self.captured
        meta = Meta(new_epoch(), captured - len(moved))
        if moved:
            write_synced(self.folder / segment_name(meta.epoch, 1), encode_blocks(meta.epoch, 1, moved))
        _write_meta(self.folder, meta)
        self._meta = meta
        self._remove_leftovers()
        self.head, self._boot_seq, self._read_seq = len(moved), 0, 0

    def close(self) -> None:
        """Let another process write."""
        self._close()
        self._lock.close()

    def reader(self, after: int) -> SpoolReader:
        """Return a reader of what follows sequence number `after` of the current epoch."""
        return SpoolReader(self, after)

    def note_read(self, seq: int) -> None:
        """Note that `seq` was read, and whoever reads may tell it."""
        self._read_seq = max(self._read_seq, seq)

    def last_time_unix_ns(self) -> int | None:
        """Return the event time of the newest committed reading, None if there is none."""
        last = None
        for batch in read_batches(self.folder, self._meta, from_seq=max(self.head, 1)):
            last = batch.time_unix_ns[-1]
        return last

    def _open_for_append(self) -> BinaryIO:
        if self._file is not None and self._file.tell() >= self._segment_bytes:
            self._close()
        if self._file is None:
            firsts = first_seqs(self.folder, self.epoch)
            path = self.folder / segment_name(self.epoch, firsts[-1] if firsts else self.head + 1)
            if firsts and path.stat().st_size >= self._segment_bytes:
                path = self.folder / segment_name(self.epoch, self.head + 1)
            self._file = path.open("ab")
            sync_folder(self.folder)
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _evict(self) -> None:
        firsts = first_seqs(self.folder, self.epoch)
        sizes = [(self.folder / segment_name(self.epoch, first)).stat().st_size for first in firsts]
        total = sum(sizes)
        while len(firsts) > 1 and total > self._limit_bytes:
            (self.folder / segment_name(self.epoch, firsts.pop(0))).unlink()
            total -= sizes.pop(0)

    def _remove_leftovers(self) -> None:
        prefix = format_epoch(self.epoch)
        for path in [*self.folder.glob("*.seg"), *self.folder.glob("*.new")]:
            if not path.name.startswith(prefix) or path.suffix == ".new":
                path.unlink()

    def _cut_torn_tail(self) -> int:
        firsts = first_seqs(self.folder, self.epoch)
        if not firsts:
            return 0
        path = self.folder / segment_name(self.epoch, firsts[-1])
        head, end = firsts[-1] - 1, 0
        for batch, position in read_blocks(path):
            head, end = batch.first_seq + batch.count - 1, position
        with path.open("r+b") as file:
            if end < path.stat().st_size:
                file.truncate(end)
            os.fsync(file.fileno())  # the last block may have been written by a process that did not live to
        return head


class SpoolReader:
    """Reads one epoch of a spool in order from a cursor; keeps its place in the segment."""

    def __init__(self, spool: Spool, after: int) -> None:
        self._spool = spool
        self._next = after + 1
        self._segment: int | None = None
        self._offset = 0
        self.epoch = spool.epoch

    @property
    def ended(self) -> bool:
        """Whether another epoch has begun, so that nothing more can be read."""
        return self.epoch != self._spool.epoch

    @property
    def at_head(self) -> bool:
        """Whether everything committed was read."""
        return self._next > self._spool.head

    def read(self) -> readings_pb2.Frame | None:
        """Return the next frame (readings or a gap), or None when there is none."""
        if self.ended or self.at_head:
            return None
        spool = self._spool
        firsts = first_seqs(spool.folder, spool.epoch)
        if not firsts or self._next < firsts[0]:
            return self._gap(firsts[0] - 1 if firsts else spool.head, readings_pb2.Gap.EVICTED)
        segment = max(first for first in firsts if first <= self._next)
        if segment != self._segment:
            self._segment, self._offset = segment, 0
        path = spool.folder / segment_name(spool.epoch, segment)
        for batch, position in read_blocks(path, self._offset):
            self._offset = position
            last = batch.first_seq + batch.count - 1
            if last >= self._next:
                frame = readings_pb2.Frame(readings=from_seq(batch, self._next))
                self._read_to(last)
                return frame
        later = [first for first in firsts if first > segment]
        return self._gap(later[0] - 1 if later else spool.head, readings_pb2.Gap.CORRUPT)

    def _gap(self, last: int, reason: readings_pb2.Gap.Reason) -> readings_pb2.Frame:
        gap = readings_pb2.Gap(epoch=self.epoch, first_seq=self._next, last_seq=last, reason=reason)
        self._read_to(last)
        return readings_pb2.Frame(gap=gap)

    def _read_to(self, last: int) -> None:
        self._next = last + 1
        self._spool.note_read(last)


def read_meta(folder: Path) -> Meta | None:
    """Return what spool.json holds, None if there is none or it is damaged: then the spool is lost."""
    try:
        data = json.loads((folder / "spool.json").read_text())
        return Meta(int(data["epoch"], 16), int(data["captured_before"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def read_batches(folder: Path, meta: Meta, from_seq: int = 0) -> Iterator[readings_pb2.ReadingBatch]:
    """Yield every readable batch from the segment that holds `from_seq` on, oldest first."""
    firsts = first_seqs(folder, meta.epoch)
    start = max((first for first in firsts if first <= from_seq), default=0)
    for first in firsts:
        if first >= start:
            with contextlib.suppress(FileNotFoundError):  # evicted meanwhile
                for batch, _ in read_blocks(folder / segment_name(meta.epoch, first)):
                    yield batch


def _locked(path: Path) -> BinaryIO:
    """Return an open file that holds the lock `path` until it is closed. Raises SpoolBusyError."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise SpoolBusyError(f"another process writes to the spool {path.parent}") from error
    return file


def _write_meta(folder: Path, meta: Meta) -> None:
    text = json.dumps({"epoch": format_epoch(meta.epoch), "captured_before": meta.captured_before})
    write_synced(folder / "spool.json", text.encode())
