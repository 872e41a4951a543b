"""The sink as its driver sees it when the Storage Write service is in trouble; tables by a real emulator."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import pytest

from ext_proc.sinks.bigquery.errors import Code
from ext_proc.sinks.bigquery.target import BigQuerySink
from ext_proc.sinks.bigquery.writer import WriterLimits
from ext_proc.sinks.errors import RetryableSinkError, TerminalSinkError
from tests.sinks.bigquery.chunks import readings_chunk, windows_chunk
from tests.sinks.bigquery.fake import Cut, FakeWriteService, Refuse
from tests.support.bigquery import BigQueryEmulator


@pytest.fixture
async def service() -> AsyncIterator[FakeWriteService]:
    """A serving Storage Write service."""
    async with FakeWriteService().serving() as fake:
        yield fake


@pytest.fixture
async def sink(service: FakeWriteService, bigquery_emulator: BigQueryEmulator) -> AsyncIterator[BigQuerySink]:
    """A started sink that writes to `service`."""
    config = bigquery_emulator.target().model_copy(update={"grpc_endpoint": service.address})
    sink = BigQuerySink(config, WriterLimits(tries=2, pause_s=0.01))
    await sink.start()
    yield sink
    await sink.close()


async def test_a_batch_that_failed_comes_again(sink: BigQuerySink, service: FakeWriteService) -> None:
    """Part of it was written, part is unknown: after `start` and `deliver` again each row is there once."""
    batch = [
        readings_chunk(7, [float(value) for value in range(30_000)]),
        readings_chunk(8, [1.0], first=30_001),
    ]
    service.plan.extend([Cut(written=True), Cut(written=True)])
    with pytest.raises(RetryableSinkError):
        await sink.deliver(batch)
    await sink.start()
    delivered = await sink.deliver(batch)
    assert (delivered.rows, delivered.dead) == (30_001, ())
    assert sorted(row["seq"] for row in service.rows()) == list(range(1, 30_002))


async def test_dead_rows_of_a_failed_try_are_told_once(sink: BigQuerySink, service: FakeWriteService) -> None:
    """What was found dead before the failure is part of the result in the end, and only of that one."""
    service.poison = lambda row: "no" if row["seq"] == 1 else None
    values = [float(value) for value in range(10)]
    service.plan.extend([Refuse(Code.INVALID_ARGUMENT, None, {0: "no"}), Refuse(Code.PERMISSION_DENIED)])
    with pytest.raises(TerminalSinkError, match="dataEditor"):
        await sink.deliver([readings_chunk(1, values)])
    delivered = await sink.deliver([readings_chunk(1, values)])
    assert [row.row["seq"] for row in delivered.dead] == [1]
    assert delivered.rows == len(values) - 1
    after = await sink.deliver([readings_chunk(2, [1.0], first=11)])
    assert (after.rows, after.dead) == (1, ())


async def test_a_smaller_batch_after_a_failure(sink: BigQuerySink, service: FakeWriteService) -> None:
    """The rest of what was handed over goes in with it, and is not written again when it comes."""
    service.plan.append(Refuse(Code.RESOURCE_EXHAUSTED))
    records = [windows_chunk(seq, revision=seq) for seq in (1, 2, 3)]
    with pytest.raises(RetryableSinkError):
        await sink.deliver(records)
    assert (await sink.deliver(records[:1])).rows == 24
    assert (await sink.deliver(records[1:])).rows == 0
    assert len({row["row_key"] for row in service.rows()}) == len(service.rows()) == 24


async def test_records_in_the_place_of_lost_ones(sink: BigQuerySink, service: FakeWriteService) -> None:
    """Another record at a sequence that was written before (the journal lost its end) is another record."""
    first = windows_chunk(5)
    assert (await sink.deliver([windows_chunk(4), first])).rows == 16
    other = dataclasses.replace(windows_chunk(5, revision=2), append_id="f" * 32)
    assert (await sink.deliver([first, other])).rows == 8
    assert len(service.rows()) == 24


async def test_records_without_chosen_windows(sink: BigQuerySink, service: FakeWriteService) -> None:
    """Nothing to write is nothing to say: no request, no rows."""
    sink = BigQuerySink(sink._config.model_copy(update={"window_sizes_ms": (1_000,)}))
    await sink.start()
    assert (await sink.deliver([windows_chunk(1)])).rows == 0
    await sink.close()
    assert service.requests == 0
