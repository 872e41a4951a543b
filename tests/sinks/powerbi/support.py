"""Windows, a clock that tests turn, and a sink over the double of Power BI."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pyarrow as pa

from ext_proc.sinks.model import Chunk
from ext_proc.sinks.powerbi.config import PowerBiTarget
from ext_proc.sinks.powerbi.rows import COLUMNS
from ext_proc.sinks.powerbi.target import PowerBiSink
from tests.support.powerbi import PowerBiDouble
from tests.support.powerbi_limits import Dataset
from wire.journal import WINDOWS_SCHEMA

S = 1_000_000_000
MS = 1_000_000
START_NS = 1_767_225_600 * S  # 2026-01-01T00:00:00Z
Opened = Callable[..., AbstractAsyncContextManager[PowerBiSink]]
SECRET_VARIABLE = "GAUGEWAY_TEST_POWERBI_SECRET"

WINDOW: Mapping[str, Any] = {
    "sensor": "press-1",
    "site": "hall-3",
    "metric": "temperature",
    "unit": "Cel",
    "size_ms": 10_000,
    "start": START_NS,
    "revision": 1,
    "count": 3,
    "min": 20.5,
    "max": 21.5,
    "sum": 63.0,
    "mean": 21.0,
    "stddev": 0.5,
    "first": 20.5,
    "first_time": START_NS + 123_456_789,
    "last": 21.5,
    "last_time": START_NS + 9 * S,
    "p50": 21.0,
    "p95": 21.5,
    "p99": 21.5,
}


def chunk(
    windows: Iterable[Mapping[str, Any]], *, shard: int = 0, generation: int = 1, seq: int = 1
) -> Chunk:
    """Return a windows record with these rows; each says in what it differs from WINDOW."""
    rows = [{**WINDOW, **window} for window in windows]
    arrays = []
    for column in WINDOWS_SCHEMA:
        values = [row[column.name] for row in rows]
        if pa.types.is_dictionary(column.type):
            arrays.append(pa.array(values, pa.utf8()).dictionary_encode().cast(column.type))
        elif pa.types.is_timestamp(column.type):
            arrays.append(pa.array(values, pa.int64()).view(column.type))
        else:
            arrays.append(pa.array(values, column.type))
    batch = pa.RecordBatch.from_arrays(arrays, schema=WINDOWS_SCHEMA)
    return Chunk("windows", shard, generation, seq, START_NS, batch, f"{seq:032x}")


def series(count: int, start_ns: int = START_NS, first: int = 0) -> list[dict[str, Any]]:
    """Return the windows of one span of `count` sensors."""
    return [{"sensor": f"s-{number}", "start": start_ns} for number in range(first, first + count)]


class TurnedClock:
    """A clock that stands still until someone sleeps; then it jumps."""

    def __init__(self, now_ns: int = 0) -> None:
        self.now_ns = now_ns

    def monotonic_ns(self) -> int:
        """Return the time since the clock was made."""
        return self.now_ns

    def unix_ns(self) -> int:
        """Return the time of day; it began at START_NS."""
        return START_NS + self.now_ns

    def seconds(self) -> float:
        """Return the monotonic time for the double."""
        return self.now_ns / S

    async def sleep(self, delay_ns: int) -> None:
        """Be later, and let others run."""
        self.now_ns += delay_ns
        await asyncio.sleep(0)


def windows_dataset(service: PowerBiDouble, *, fifo: bool = True) -> Dataset:
    """Create the model that the sink expects."""
    return service.add_dataset("gaugeway", {"windows": COLUMNS}, fifo=fifo)


def configure(service: PowerBiDouble, model: Dataset | None, **changes: object) -> PowerBiTarget:
    """Return the configuration of a sink that writes to `model`."""
    given: dict[str, object] = {
        "workspace": service.workspace,
        "tenant": service.tenant,
        "client_id": service.client_id,
        "client_secret_env": SECRET_VARIABLE,
        "base_url": service.url,
        "token_url": service.token_url,
        "timeout_s": 10,
    }
    if model is not None:
        given["dataset"] = model.dataset_id
    return PowerBiTarget.model_validate({**given, **changes})


def keys(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys of rows."""
    return [row["row_key"] for row in rows]
