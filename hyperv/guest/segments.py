"""Segments of a spool: files of blocks.

A segment is a run of blocks, one or more for each commit:
  u32 length | u32 crc32 of payload | payload (a serialised ReadingBatch)
both integers little-endian. Its name is `<epoch>-<first seq>.seg`.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wire.gen.gaugeway.readings.v1 import readings_pb2
from wire.ids import format_epoch

_BLOCK: Final = struct.Struct("<II")
_READINGS_A_BLOCK: Final = 8192  # 172 KB: a block is a frame, and those are bounded (wire.frames)
_MAX_BLOCK_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Captured:
    """One reading before it has a sequence number. Time in Unix ns, UTC."""

    metric: str
    unit: str
    time_unix_ns: int
    value: float
    quality: int = 0


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


def encode_blocks(epoch: int, first_seq: int, readings: Sequence[Captured]) -> bytes:
    """Return the blocks of `readings`, numbered from `first_seq`."""
    blocks: list[bytes] = []
    for begin in range(0, len(readings), _READINGS_A_BLOCK):
        payload = encode_batch(epoch, first_seq + begin, readings[begin : begin + _READINGS_A_BLOCK])
        blocks += [_BLOCK.pack(len(payload), zlib.crc32(payload)), payload]
    return b"".join(blocks)


def decode_batch(batch: readings_pb2.ReadingBatch) -> list[Captured]:
    """Return the readings of a batch."""
    quality = batch.quality or bytes(batch.count)
    return [
        Captured(batch.series[index].metric, batch.series[index].unit, time, value, flag)
        for index, time, value, flag in zip(
            batch.series_index, batch.time_unix_ns, batch.value, quality, strict=True
        )
    ]


def segment_name(epoch: int, first_seq: int) -> str:
    """Return the file name of a segment."""
    return f"{format_epoch(epoch)}-{first_seq:020d}.seg"


def first_seqs(folder: Path, epoch: int) -> list[int]:
    """Return the first sequence number of every segment of an epoch, ascending."""
    return sorted(int(path.stem.partition("-")[2]) for path in folder.glob(f"{format_epoch(epoch)}-*.seg"))


def read_blocks(path: Path, offset: int = 0) -> Iterator[tuple[readings_pb2.ReadingBatch, int]]:
    """Yield (batch, position after it) from `offset` until the first block that is cut or damaged."""
    with path.open("rb") as file:
        file.seek(offset)
        while len(header := file.read(_BLOCK.size)) == _BLOCK.size:
            length, crc = _BLOCK.unpack(header)
            if not 0 < length <= _MAX_BLOCK_BYTES:  # zeros, too, are what a power loss leaves
                return
            payload = file.read(length)
            if len(payload) < length or zlib.crc32(payload) != crc:
                return
            offset += _BLOCK.size + length
            yield readings_pb2.ReadingBatch.FromString(payload), offset


def from_seq(batch: readings_pb2.ReadingBatch, seq: int) -> readings_pb2.ReadingBatch:
    """Return a batch without what comes before `seq`."""
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


def write_synced(path: Path, data: bytes) -> None:
    """Replace `path` atomically and durably."""
    temporary = path.with_suffix(".new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
