"""Frames as an agent writes them, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Sequence

from wire.frames import delimit
from wire.gen.gaugeway.readings.v1 import readings_pb2

NOW = 1_800_000_000_000_000_000
SERIES = (("temperature", "Cel"), ("pressure", "kPa"))


def value_of(seq: int) -> float:
    """Return the value that reading `seq` has in these tests."""
    return seq / 8


def batch(
    epoch: int,
    first_seq: int,
    count: int,
    *,
    series: Sequence[tuple[str, str]] = SERIES,
    times: Sequence[int] | None = None,
    values: Sequence[float] | None = None,
    quality: bytes = b"",
) -> readings_pb2.Frame:
    """Return a readings frame; by default reading `seq` has series seq % 2 and value_of(seq)."""
    seqs = range(first_seq, first_seq + count)
    return readings_pb2.Frame(
        readings=readings_pb2.ReadingBatch(
            epoch=epoch,
            first_seq=first_seq,
            count=count,
            series=[readings_pb2.Series(metric=metric, unit=unit) for metric, unit in series],
            series_index=[seq % len(series) for seq in seqs],
            time_unix_ns=times if times is not None else [NOW + seq for seq in seqs],
            value=values if values is not None else [value_of(seq) for seq in seqs],
            quality=quality,
        )
    )


def gap(epoch: int, first_seq: int, last_seq: int) -> readings_pb2.Frame:
    """Return a gap frame: the ring was full."""
    return readings_pb2.Frame(
        gap=readings_pb2.Gap(
            epoch=epoch, first_seq=first_seq, last_seq=last_seq, reason=readings_pb2.Gap.EVICTED
        )
    )


def heartbeat(epoch: int, head_seq: int) -> readings_pb2.Frame:
    """Return a heartbeat."""
    return readings_pb2.Frame(
        heartbeat=readings_pb2.Heartbeat(epoch=epoch, head_seq=head_seq, time_unix_ns=NOW)
    )


def body(*frames: readings_pb2.Frame) -> bytes:
    """Return frames as a body."""
    return b"".join(delimit(frame.SerializeToString()) for frame in frames)
