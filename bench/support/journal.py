"""What reached the journal, when, and whether it is what was sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig

from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import READINGS_SCHEMA, WINDOWS_SCHEMA, decode_rows
from wire.names import readings_stream, windows_stream

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_TOGETHER: Final = 32  # messages that are read at once
_PER_MICROSECOND: Final = 1000
_KEY_BITS: Final = 40  # twelve days in microseconds


class Arrivals:
    """When (Unix ns) each message of a stream was on disk and told of, by sequence.

    A consumer that is sent headers only: it costs the server next to nothing.
    """

    def __init__(self) -> None:
        self.at_ns: dict[int, int] = {}

    async def note(self, message: Msg) -> None:
        """Take a message."""
        self.at_ns[message.metadata.sequence.stream] = time.time_ns()


@asynccontextmanager
async def arrivals(client: Client, stream: str, subject: str) -> AsyncIterator[Arrivals]:
    """Note the arrivals of a stream that exists."""
    noted = Arrivals()
    subscription = await client.jetstream().subscribe(
        subject, stream=stream, ordered_consumer=True, cb=noted.note, config=ConsumerConfig(headers_only=True)
    )
    try:
        yield noted
    finally:
        await subscription.unsubscribe()


@dataclass(frozen=True, slots=True)
class Rows:
    """Readings of the journal, in its order.

    Attributes:
        sensor, epoch, seq, time: Of each.
        arrived_ns: When its record was in the journal; 0 if that was not noted.
    """

    sensor: Ints
    epoch: Ints
    seq: Ints
    time: Ints
    arrived_ns: Ints


async def read_readings(
    js: JetStreamContext, shards: int, sensors: Mapping[str, int], noted: Sequence[Arrivals]
) -> Rows:
    """Read all readings back."""
    columns: list[tuple[Ints, ...]] = []
    for shard in range(shards):
        async for seq, data in _messages(js, readings_stream(shard)):
            record = journal_pb2.ReadingsRecord.FromString(data)
            if not record.count:
                continue
            batch = decode_rows(record.rows, READINGS_SCHEMA)
            arrived = np.full(record.count, noted[shard].at_ns.get(seq, 0))
            columns.append(
                (
                    _sensors(batch, sensors),
                    batch.column("epoch").to_numpy().view(np.int64),
                    batch.column("seq").to_numpy().view(np.int64),
                    batch.column("time").to_numpy().view(np.int64),
                    arrived,
                )
            )
    return Rows(*(np.concatenate(column) for column in zip(*columns, strict=True)))


@dataclass(frozen=True, slots=True)
class WindowEnds:
    """Windows of the journal that were emitted for the first time."""

    sensor: Ints
    end: Ints  # Unix ns
    arrived_ns: Ints
    total: int  # rows of the stream


async def read_windows(
    js: JetStreamContext, shards: int, sensors: Mapping[str, int], noted: Sequence[Arrivals]
) -> WindowEnds:
    """Read all windows back."""
    columns: list[tuple[Ints, ...]] = [(np.empty(0, np.int64),) * 3]
    total = 0
    for shard in range(shards):
        async for seq, data in _messages(js, windows_stream(shard)):
            record = journal_pb2.WindowsRecord.FromString(data)
            batch = decode_rows(record.rows, WINDOWS_SCHEMA)
            total += batch.num_rows
            first = batch.column("revision").to_numpy() == 1
            size_ns = batch.column("size_ms").to_numpy().astype(np.int64) * 1_000_000
            end = batch.column("start").to_numpy().view(np.int64) + size_ns
            arrived = np.full(batch.num_rows, noted[shard].at_ns.get(seq, 0))
            columns.append((_sensors(batch, sensors)[first], end[first], arrived[first]))
    sensor, end, arrived = (np.concatenate(column) for column in zip(*columns, strict=True))
    return WindowEnds(sensor, end, arrived, total)


def _sensors(batch: Any, sensors: Mapping[str, int]) -> Ints:
    column = batch.column("sensor")
    numbers = np.array([sensors[word] for word in column.dictionary.to_pylist()], np.int64)
    found: Ints = numbers[column.indices.to_numpy()]
    return found


async def _messages(js: JetStreamContext, stream: str) -> AsyncIterator[tuple[int, bytes]]:
    """Yield (sequence, data) of a stream."""
    state = (await js.stream_info(stream)).state
    for first in range(state.first_seq, state.last_seq + 1, _TOGETHER):
        seqs = range(first, min(first + _TOGETHER, state.last_seq + 1))
        for seq, message in zip(
            seqs, await asyncio.gather(*(js.get_msg(stream, seq=seq) for seq in seqs)), strict=True
        ):
            yield seq, message.data or b""


@dataclass(frozen=True, slots=True)
class Accounted:
    """What of the readings sent is in the journal.

    Attributes:
        lost: Readings sent that are not there.
        duplicate: Readings that are there more than once, each time but the first.
        unknown: Readings that were never sent.
    """

    lost: int
    duplicate: int
    unknown: int


def account(rows: Rows, epoch: Ints, sent: Ints) -> Accounted:
    """Compare the journal with what was sent: 1..sent[i] of epoch[i] of each sensor i."""
    known = (rows.epoch == epoch[rows.sensor]) & (rows.seq >= 1) & (rows.seq <= sent[rows.sensor])
    begins = np.cumsum(sent) - sent
    times = np.bincount(begins[rows.sensor[known]] + rows.seq[known] - 1, minlength=int(sent.sum()))
    return Accounted(
        lost=int((times == 0).sum()),
        duplicate=int((times - 1).clip(0).sum()),
        unknown=int((~known).sum()),
    )


def journal_ms(rows: Rows, per_frame: int, span_ns: tuple[int, int]) -> Floats:
    """Return how long each frame took from its flush into the journal, for arrivals within the span.

    The event time of a frame's last reading is the time of its flush.
    """
    chosen = (rows.seq % per_frame == 0) & (rows.arrived_ns >= span_ns[0]) & (rows.arrived_ns < span_ns[1])
    took: Floats = (rows.arrived_ns[chosen] - rows.time[chosen]) / 1e6
    return took


def window_ms(rows: Rows, windows: WindowEnds, per_frame: int, span_ns: tuple[int, int]) -> Floats:
    """Return how long each window took from the flush of the frame that closes it into the journal.

    That is the sensor's first frame whose last event time is not before the window's end.
    """
    base = int(rows.time.min())
    flushes = rows.seq % per_frame == 0
    keys = _key(rows.sensor[flushes], rows.time[flushes] - base)
    keys.sort()
    chosen = (windows.arrived_ns >= span_ns[0]) & (windows.arrived_ns < span_ns[1]) & (windows.end > base)
    sensor, end, arrived = windows.sensor[chosen], windows.end[chosen], windows.arrived_ns[chosen]
    place = np.searchsorted(keys, _key(sensor, end - base))
    np.minimum(place, len(keys) - 1, out=place)
    flushed = (keys[place] & ((1 << _KEY_BITS) - 1)) * _PER_MICROSECOND + base
    took: Floats = (arrived - flushed) / 1e6
    by_event_time = (keys[place] >> _KEY_BITS == sensor) & (took >= 0)
    return np.compress(by_event_time, took)


def _key(sensor: Ints, since_ns: Ints) -> Ints:
    key: Ints = (sensor << _KEY_BITS) + since_ns // _PER_MICROSECOND
    return key
