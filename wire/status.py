"""Messages over NATS core: what workers and sinks say of themselves, live windows, audit.

Not durable: whoever misses one waits for the next. All times are Unix
nanoseconds, UTC.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from pydantic import BaseModel, ConfigDict

Count = int


class Message(BaseModel):
    """Base of the messages: unknown fields are kept out, so that versions can meet."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class StreamStatus(Message):
    """One sensor's stream as its worker sees it."""

    sensor_id: str
    state: Literal["connecting", "live", "silent", "backoff"]
    since_unix_ns: int
    endpoint_version: str
    epoch: str | None = None  # 16 hexadecimal digits
    accepted_seq: int = 0
    committed_seq: int = 0
    readings_per_s: float = 0.0
    last_reading_unix_ns: int | None = None
    reconnects: int = 0
    error: str | None = None  # the last failure, in a sentence


class StreamReport(msgspec.Struct, frozen=True, gc=False):
    """A StreamStatus as a worker writes it, thousands a second: the same fields for much less."""

    sensor_id: str
    state: Literal["connecting", "live", "silent", "backoff"]
    since_unix_ns: int
    endpoint_version: str
    epoch: str | None = None
    accepted_seq: int = 0
    committed_seq: int = 0
    readings_per_s: float = 0.0
    last_reading_unix_ns: int | None = None
    reconnects: int = 0
    error: str | None = None


class RejectedInput(Message):
    """Where a worker last met input of a sensor that it could not use, for one reason."""

    sensor_id: str
    reason: str
    stream: int  # which of the sensor's streams, counted from 1 since the worker follows it
    epoch: str  # 16 hexadecimal digits, all 0 if not known
    offset: int  # in the body of that stream
    head_hex: str  # the first bytes there
    at_unix_ns: int


class WorkerStatus(Message):
    """A worker, once a second."""

    node_id: str
    pid: int
    now_unix_ns: int
    state: Literal["starting", "running", "paused", "stopping"]
    message: str | None = None  # why it is paused
    shards: list[int]
    readings_per_s: float
    streams: list[StreamStatus]
    rejected: dict[str, int] = {}  # frames, records and readings not used since it began, by reason
    rejected_last: list[RejectedInput] = []  # the newest, first; a few


class SinkStatus(Message):
    """A sink, once a second."""

    sink: str
    pid: int
    now_unix_ns: int
    state: Literal["running", "retrying", "paused", "failed"]
    message: str | None = None
    rows_delivered: int
    lag_rows: int
    lag_s: float
    dead_letters: int = 0
    given_up: int = 0  # rows left out on purpose to stay within the other side's limits
    retention_gaps: int = 0


class LiveWindow(Message):
    """One window as it closes; the same columns as the windows table."""

    metric: str
    unit: str
    size_ms: int
    start_unix_ns: int
    revision: int
    count: int
    min: float
    max: float
    sum: float
    mean: float
    stddev: float | None
    first: float
    last: float
    p50: float
    p95: float
    p99: float


class LiveWindows(Message):
    """Windows of one sensor that one fold step closed (all sizes)."""

    sensor_id: str
    windows: list[LiveWindow]


class SensorAudit(Message):
    """What became of every reading of a sensor.

    received = aggregated + duplicate + quarantined + too_late + excluded.
    """

    sensor_id: str
    received: Count
    aggregated: Count
    duplicate: Count
    quarantined: Count
    too_late: Count
    excluded: Count
    undecodable_frames: Count
    gaps: Count  # holes reported or found
    gap_readings: Count  # sequence numbers inside them


class ShardAudit(Message):
    """The audit counters of a shard's fold after the readings record `through`."""

    shard: int
    generation: int
    through: int
    sensors: list[SensorAudit]
