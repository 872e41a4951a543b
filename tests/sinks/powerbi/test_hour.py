"""An hour of a fleet that is larger than the service's limits, with a bad quarter of an hour in it.

A double holds every published limit to what comes; time is a number. 440 rows a
second are offered (2,200 sensors with 2 metrics, windows of 10 s, in two
shards), where the service takes 277 at best.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest

from ext_proc.sinks.errors import RetryableSinkError
from ext_proc.sinks.model import Chunk
from ext_proc.sinks.powerbi.target import PowerBiSink
from tests.sinks.powerbi.support import START_NS, S, TurnedClock, chunk, configure, windows_dataset
from tests.support.powerbi import PowerBiDouble
from tests.support.powerbi_limits import HOUR_S, MAX_ROWS_PER_HOUR, RefusalError

SHARDS = 2
SENSORS = 1_100  # of each shard
SPAN_NS = 10 * S
SPANS = 360
ROWS = SENSORS * 2


def spans_rows(shard: int, number: int) -> Chunk:
    """Return the record of a shard's windows that closed at (number + 1) spans."""
    start = START_NS + number * SPAN_NS
    return chunk(
        [
            {"sensor": f"s-{shard}-{n}", "metric": metric, "start": start}
            for n in range(SENSORS)
            for metric in ("temperature", "humidity")
        ],
        shard=shard,
        seq=number + 1,
    )


class Hour:
    """The driver of one shard, in short: what is due goes in one batch; errors are tried again."""

    def __init__(self, sink: PowerBiSink, clock: TurnedClock, shard: int) -> None:
        self._sink = sink
        self._clock = clock
        self._shard = shard
        self._next = 0
        self.delivered = 0
        self.given_up = 0
        self.errors = 0
        self.lag_ns: dict[int, int] = {}  # span and how late its batch was done

    def due(self) -> int:
        """Return how many spans have closed and are not delivered."""
        return min(SPANS, self._clock.now_ns // SPAN_NS) - self._next

    async def catch_up(self) -> None:
        """Deliver one batch of what is due, at most 50,000 rows."""
        count = min(self.due(), self._sink.limits.rows // ROWS)
        if not count:
            return
        batch = [spans_rows(self._shard, self._next + n) for n in range(count)]
        while True:
            try:
                result = await self._sink.deliver(batch)
            except RetryableSinkError as error:
                self.errors += 1
                await self._clock.sleep(int((error.retry_after_s or 1.0) * S))
            else:
                break
        assert result.rows + result.given_up == count * ROWS
        self.delivered += result.rows
        self.given_up += result.given_up
        self._next += count
        for span in range(self._next - count, self._next):
            self.lag_ns[span] = self._clock.now_ns - (span + 1) * SPAN_NS


async def run_an_hour(hours: list[Hour], clock: TurnedClock, service: PowerBiDouble) -> None:
    """Turn the clock; from minute 20 on the service refuses for some time, at minute 25 it is down."""
    trouble = {
        20 * 60: [RefusalError(429, "TooManyRequests", retry_after_s=30) for _ in range(10)],
        25 * 60: [RefusalError(503, "Unavailable", retry_after_s=20) for _ in range(15)],
    }
    while clock.now_ns < SPANS * SPAN_NS or any(hour.due() for hour in hours):
        for at_s in [at_s for at_s in trouble if clock.now_ns >= at_s * S]:
            service.scripted.extend(trouble.pop(at_s))
        if any(hour.due() for hour in hours):
            await asyncio.gather(*(hour.catch_up() for hour in hours))
        else:
            clock.now_ns = (clock.now_ns // SPAN_NS + 1) * SPAN_NS


@pytest.mark.timeout(300)
async def test_an_hour_over_the_limits(service: PowerBiDouble, clock: TurnedClock) -> None:
    """No limit is broken, no row is lost uncounted, and every series stays fresh."""
    service.token_lifetime_s = 1_199
    dataset = windows_dataset(service)
    sink = PowerBiSink(configure(service, dataset), clock)
    await sink.start()
    hours = [Hour(sink, clock, shard) for shard in range(SHARDS)]
    await run_an_hour(hours, clock, service)
    await sink.close()

    assert service.breaches == []
    offered = SHARDS * SPANS * ROWS
    delivered, given_up = (sum(getattr(hour, name) for hour in hours) for name in ("delivered", "given_up"))
    table = dataset.tables["windows"]
    assert table.total == delivered == offered - given_up
    assert sum(rows for at, rows in dataset.posts if at > clock.seconds() - HOUR_S) <= MAX_ROWS_PER_HOUR
    assert delivered > 700_000  # of the limit's million; a quarter of an hour went by in refusals
    assert sum(hour.errors for hour in hours) >= 25

    newest: dict[tuple[str, str], str] = defaultdict(str)
    for row in table.rows():
        series = (row["sensor_id"], row["metric"])
        newest[series] = max(newest[series], row["window_start"])
    assert len(newest) == SHARDS * ROWS
    assert min(newest.values()) >= "2026-01-01T00:59:00"

    calm = [lag for hour in hours for span, lag in hour.lag_ns.items() if not 115 <= span < 240]
    assert max(calm) <= 60 * S
