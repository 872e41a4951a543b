"""The sink against the double of Power BI: what arrives, and what happens when it does not."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from ext_proc.sinks.errors import RetryableSinkError
from ext_proc.sinks.model import Target
from ext_proc.sinks.powerbi.rows import COLUMNS
from ext_proc.sinks.powerbi.target import PowerBiSink
from tests.sinks.powerbi.support import (
    START_NS,
    Opened,
    S,
    TurnedClock,
    chunk,
    configure,
    keys,
    series,
    windows_dataset,
)
from tests.support.powerbi import PowerBiDouble
from tests.support.powerbi_limits import Dataset, RefusalError


def posts(service: PowerBiDouble) -> int:
    """Return how many POSTs of rows the service saw."""
    return sum(line.startswith("POST") and line.endswith("/rows") for line in service.requests)


async def test_windows_arrive(opened: Opened, dataset: Dataset) -> None:
    """Rows of the wanted sizes arrive in order, under the public names; others are left out."""
    async with opened() as sink:
        target: Target = sink
        assert target.kinds == ("windows",)
        first = await sink.deliver([chunk([{}, {"size_ms": 60_000}], seq=1), chunk([{"revision": 2}], seq=2)])
        second = await sink.deliver([chunk([{"size_ms": 1_000}], seq=3)])
    assert (first.rows, first.dead, first.given_up) == (2, (), 0)
    assert (second.rows, second.dead, second.given_up) == (0, (), 0)
    rows = dataset.tables["windows"].rows()
    assert [row["revision"] for row in rows] == [1, 2]
    assert rows[0].keys() == COLUMNS.keys()


async def test_shards_share_posts(opened: Opened, service: PowerBiDouble, dataset: Dataset) -> None:
    """64 shards that deliver at once need two POSTs, not 64; each shard's rows stay in order."""
    async with opened() as sink:
        await asyncio.gather(
            *(sink.deliver([chunk(series(2, first=shard * 2), shard=shard)]) for shard in range(64))
        )
    rows = dataset.tables["windows"].rows()
    assert len(rows) == 128
    assert posts(service) <= 2
    assert all(rows[i]["shard"] == rows[i + 1]["shard"] for i in range(0, 128, 2))


async def test_large_batches_are_cut(opened: Opened, clock: TurnedClock, service: PowerBiDouble) -> None:
    """25,000 rows go in three POSTs, at once when there is room."""
    async with opened() as sink:
        clock.now_ns += 3600 * S
        began = clock.now_ns
        assert (await sink.deliver([chunk(series(25_000, START_NS + 3600 * S))])).rows == 25_000
    assert (posts(service), clock.now_ns) == (3, began)


async def test_a_429_is_waited_for(
    opened: Opened, service: PowerBiDouble, dataset: Dataset, clock: TurnedClock
) -> None:
    """The driver hears how long; the same batch then goes through, however early it is tried again."""
    service.scripted.append(RefusalError(429, "TooManyRequests", retry_after_s=120))
    async with opened() as sink:
        batch = [chunk([{}])]
        with pytest.raises(RetryableSinkError) as caught:
            await sink.deliver(batch)
        assert caught.value.retry_after_s == 120
        refused_at = clock.now_ns
        assert (await sink.deliver(batch)).rows == 1
    assert clock.now_ns >= refused_at + 120 * S
    assert len(dataset.tables["windows"].rows()) == 1


async def test_a_storm_of_429(opened: Opened, service: PowerBiDouble, dataset: Dataset) -> None:
    """Four shards under forty refusals in a row: no POST comes too early, every row arrives once."""
    service.scripted.extend(RefusalError(429, "Busy", retry_after_s=1 + n % 7) for n in range(40))
    async with opened() as sink:

        async def insist(shard: int) -> None:
            while True:
                try:
                    await sink.deliver([chunk(series(5, first=shard * 5), shard=shard)])
                except RetryableSinkError:
                    continue
                return

        await asyncio.gather(*(insist(shard) for shard in range(4)))
    assert posts(service) <= 44
    rows = keys(dataset.tables["windows"].rows())
    assert len(rows) == len(set(rows)) == 20


async def test_a_batch_goes_on_behind_what_was_accepted(
    opened: Opened, service: PowerBiDouble, dataset: Dataset, clock: TurnedClock
) -> None:
    """After an error in the middle the same batch does not repeat the rows that are there."""
    service.scripted.extend([None, RefusalError(503, "Busy"), None, RefusalError(500, "Oops")])
    async with opened(rows_per_post=100) as sink:
        clock.now_ns += 3600 * S
        batch = [chunk(series(150)), chunk(series(150, START_NS + 10 * S), seq=2)]
        for _ in range(2):
            with pytest.raises(RetryableSinkError):
                await sink.deliver(batch)
        assert (await sink.deliver(batch)).rows == 300
    rows = keys(dataset.tables["windows"].rows())
    assert len(rows) == len(set(rows)) == 300


async def test_an_answer_that_is_lost(opened: Opened, service: PowerBiDouble, dataset: Dataset) -> None:
    """The rows of a POST whose answer was lost are sent again: twice there, under the same key."""
    service.applied_unanswered = 1
    async with opened() as sink:
        batch = [chunk(series(3))]
        with pytest.raises(RetryableSinkError, match=r"does not answer: \w+"):
            await sink.deliver(batch)
        assert (await sink.deliver(batch)).rows == 3
    rows = keys(dataset.tables["windows"].rows())
    assert (len(rows), len(set(rows))) == (6, 3)


async def test_a_service_that_hangs(opened: Opened, service: PowerBiDouble) -> None:
    """No answer within the timeout is retryable, and not at once: what hangs there is still pending."""
    service.open.clear()
    async with opened(timeout_s=0.05) as sink:
        with pytest.raises(RetryableSinkError, match=r"does not answer within 0\.05 s") as caught:
            await sink.deliver([chunk([{}])])
        assert caught.value.retry_after_s == 0.05
        service.open.set()
        assert (await sink.deliver([chunk([{}])])).rows == 1


async def test_a_service_that_is_away(service: PowerBiDouble, clock: TurnedClock, dataset: Dataset) -> None:
    """No connection is retryable, for the token and for the rows; start can be called again."""
    sink = PowerBiSink(configure(service, dataset, base_url="http://127.0.0.1:9"), clock)
    for _ in range(2):
        with pytest.raises(RetryableSinkError, match=r"http://127\.0\.0\.1:9 does not answer: ClientConn"):
            await sink.start()
    await sink.close()
    sink = PowerBiSink(configure(service, dataset, token_url="http://127.0.0.1:9/token"), clock)
    with pytest.raises(RetryableSinkError, match=r"http://127\.0\.0\.1:9/token does not answer"):
        await sink.start()
    await sink.close()


async def test_bodies_that_are_too_large(opened: Opened, service: PowerBiDouble, dataset: Dataset) -> None:
    """413 makes POSTs smaller until they fit."""
    service.max_body_bytes = 10_000
    refusals = 0
    async with opened() as sink:
        while True:
            try:
                delivered = await sink.deliver([chunk(series(100))])
            except RetryableSinkError:
                refusals += 1
            else:
                break
    assert delivered.rows == 100
    assert refusals == 3  # of 100, 50 and 25 rows
    assert len(dataset.tables["windows"].rows()) == 100


async def test_a_row_that_can_never_be_taken(opened: Opened, dataset: Dataset) -> None:
    """It is dead with a reason; the rest of the batch is delivered."""
    async with opened() as sink:
        delivered = await sink.deliver([chunk([{}, {"site": "x" * 4_001}, {"revision": 2}])])
    assert delivered.rows == 2
    (dead,) = delivered.dead
    assert dead.row["window_start"] == START_NS
    assert "4000 characters" in dead.reason
    assert len(dataset.tables["windows"].rows()) == 2


async def test_the_newest_comes_first_and_the_rest_is_counted(opened: Opened, dataset: Dataset) -> None:
    """With no room, of a backlog the newest window of each series goes."""
    backlog = [chunk(series(10, START_NS + span * 10 * S), seq=span + 1) for span in range(6)]
    async with opened(rows_per_hour=500) as sink:
        delivered = await sink.deliver(backlog)
    assert (delivered.rows, delivered.given_up) == (10, 50)
    assert {row["journal_seq"] for row in dataset.tables["windows"].rows()} == {6}


async def test_a_changed_batch_is_judged_anew(opened: Opened, service: PowerBiDouble) -> None:
    """What is not the batch that failed is not taken for it."""
    service.scripted.append(RefusalError(503, "Busy"))
    async with opened() as sink:
        with pytest.raises(RetryableSinkError):
            await sink.deliver([chunk(series(3), seq=5)])
        assert (await sink.deliver([chunk(series(4), seq=5), chunk([{}], seq=6)])).rows == 5


async def test_on_the_machines_clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With real time a sink that has just started posts at once, and nothing in it blocks the loop."""
    service = PowerBiDouble()
    secret = tmp_path / "secret"
    secret.write_text(service.client_secret)
    await service.start()
    changes = {"client_secret_env": None, "client_secret_file": str(secret)}
    sink = PowerBiSink(configure(service, windows_dataset(service), **changes))
    with blockbuster_ctx("ext_proc"):
        await sink.start()
        began = time.monotonic()
        now_ns = time.time_ns()
        assert (await sink.deliver([chunk(series(20, now_ns))])).rows == 20
        assert (await sink.deliver([chunk(series(20, now_ns), seq=2)])).rows == 20
        assert time.monotonic() - began < 5
    await sink.close()
    await service.close()
    assert service.breaches == []
