"""The writer against a service that loses answers, refuses and falls silent."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import pyarrow as pa
import pytest
from google.cloud.bigquery_storage_v1.services.big_query_write import BigQueryWriteAsyncClient
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import (
    BigQueryWriteGrpcAsyncIOTransport,
)

from ext_proc.sinks.bigquery.errors import Code
from ext_proc.sinks.bigquery.pending import Delivery
from ext_proc.sinks.bigquery.rows import REQUEST_BYTES, arrow_schema, parts
from ext_proc.sinks.bigquery.writer import TableWriter, WriterLimits
from ext_proc.sinks.errors import RetryableSinkError, TerminalSinkError
from ext_proc.sinks.tables import public_rows
from tests.sinks.bigquery.chunks import readings_chunk
from tests.sinks.bigquery.fake import Cut, End, FakeWriteService, Hold, Refuse, Silence, Step

TABLE = "projects/p/datasets/d/tables/readings"
QUICK = WriterLimits(in_flight=4, answer_s=20.0, tries=4, pause_s=0.01)


async def _nothing() -> None:
    pass


@pytest.fixture
async def service() -> AsyncIterator[FakeWriteService]:
    """A serving Storage Write service."""
    async with FakeWriteService().serving() as fake:
        yield fake


@asynccontextmanager
async def writing(
    service: FakeWriteService,
    add_columns: Callable[[], Awaitable[None]] = _nothing,
    limits: WriterLimits = QUICK,
) -> AsyncIterator[TableWriter]:
    """A writer of readings to `service`."""
    channel = grpc.aio.insecure_channel(service.address, options=[("grpc.enable_retries", 0)])
    client = BigQueryWriteAsyncClient(transport=BigQueryWriteGrpcAsyncIOTransport(channel=channel))
    writer = TableWriter(client, TABLE, "readings", add_columns, limits)
    try:
        yield writer
    finally:
        await writer.close()
        await channel.close(None)


def requests(*sizes: int, first: int = 1) -> list[pa.Table]:
    """Return a table of readings for each of `sizes`, seq and value rising from `first`."""
    tables = []
    for size in sizes:
        values = [float(first + index) for index in range(size)]
        tables.append(public_rows([readings_chunk(1, values, first=first)]))
        first += size
    return tables


def seqs(service: FakeWriteService) -> list[int]:
    """Return the seq of every row in the table, sorted."""
    return sorted(row["seq"] for row in service.rows())


async def wait_until(probe: Callable[[], bool]) -> None:
    """Return when `probe` says so."""
    async with asyncio.timeout(10):
        while not probe():  # noqa: ASYNC110 - it looks at another's state
            await asyncio.sleep(0.005)


async def test_rows_arrive_once_in_order_over_one_connection(service: FakeWriteService) -> None:
    """Deliveries one after another share a stream and a connection, also after a pause."""
    async with writing(service) as writer:
        first = writer.submit(requests(3, 4))
        await writer.settle(first)
        second = writer.submit(requests(5, first=8))
        await writer.settle(second)
    assert [row["seq"] for row in service.rows()] == list(range(1, 13))
    assert (first.rows, second.rows) == (7, 5)
    assert service.connections == 1
    assert len(service.streams) == 1


@pytest.mark.parametrize(
    "step",
    [
        Cut(written=False),
        Cut(written=True),
        Cut(written=False, code=grpc.StatusCode.ABORTED),
        Cut(written=True, code=grpc.StatusCode.INTERNAL),
        Cut(written=True, code=grpc.StatusCode.CANCELLED),
        End(),
        Refuse(Code.ABORTED),
        Refuse(Code.INTERNAL),
        Refuse(Code.UNAVAILABLE),
        Refuse(Code.OUT_OF_RANGE, "OFFSET_OUT_OF_RANGE"),
        Cut(written=False, code=grpc.StatusCode.FAILED_PRECONDITION),
        Cut(written=True, code=grpc.StatusCode.NOT_FOUND, storage_error="STREAM_NOT_FOUND"),
        Refuse(Code.INVALID_ARGUMENT, "STREAM_FINALIZED"),
        Refuse(Code.FAILED_PRECONDITION, "INVALID_STREAM_STATE"),
    ],
    ids=str,
)
@pytest.mark.parametrize("at", [0, 1, 2])
async def test_nothing_is_lost_or_doubled(service: FakeWriteService, step: Step, at: int) -> None:
    """Whatever happens to a request in flight among others, and to the stream, every row is there once."""
    fine = asyncio.Event()
    fine.set()
    service.plan.extend([Hold(fine)] * at + [step])
    async with writing(service) as writer:
        delivery = writer.submit(requests(3, 1, 4, 1, 5))
        await writer.settle(delivery)
    assert seqs(service) == list(range(1, 15))
    assert (delivery.rows, delivery.dead) == (14, [])


async def test_an_answer_that_never_comes(service: FakeWriteService) -> None:
    """The connection is given up after a while; the rows that were written count."""
    service.plan.append(Silence())
    async with writing(service, limits=WriterLimits(answer_s=0.3, pause_s=0.01)) as writer:
        await writer.settle(writer.submit(requests(2, 2)))
    assert seqs(service) == [1, 2, 3, 4]
    assert service.connections == 2


async def test_an_idle_connection_is_not_given_up(service: FakeWriteService) -> None:
    """No answer is awaited while nothing was asked."""
    async with writing(service, limits=WriterLimits(answer_s=0.1)) as writer:
        await writer.settle(writer.submit(requests(1)))
        await asyncio.sleep(0.3)  # longer than an answer may take
        await writer.settle(writer.submit(requests(1, first=2)))
    assert service.connections == 1


async def test_requests_are_pipelined_and_bounded(service: FakeWriteService) -> None:
    """Requests do not wait for each other's answers, up to a limit."""
    answer = asyncio.Event()
    service.plan.append(Hold(answer))
    async with writing(service) as writer:
        delivery = writer.submit(requests(*[1] * 10))
        settling = asyncio.create_task(writer.settle(delivery))
        await wait_until(lambda: writer.unanswered == QUICK.in_flight)
        assert not settling.done()
        answer.set()
        await settling
    assert seqs(service) == list(range(1, 11))


async def test_large_batches_are_cut(service: FakeWriteService) -> None:
    """Requests stay about as large as the service likes them."""
    (rows,) = requests(30_000)
    async with writing(service) as writer:
        await writer.settle(writer.submit(parts(rows)))
    assert len(seqs(service)) == 30_000
    assert REQUEST_BYTES // 2 < service.largest < REQUEST_BYTES * 3 // 2


async def test_poison_rows_are_dead_with_the_services_reason(service: FakeWriteService) -> None:
    """Only the refused rows are; those of the same request and of those behind it arrive once."""
    service.poison = lambda row: "too hot" if row["seq"] in {2, 3, 9} else None
    async with writing(service) as writer:
        first, second = writer.submit(requests(4, 1)), writer.submit(requests(3, 1, first=6))
        await asyncio.gather(writer.settle(first), writer.settle(second))
    assert seqs(service) == [1, 4, 5, 6, 7, 8]
    assert [(row.row["seq"], row.reason) for row in first.dead] == [(2, "too hot"), (3, "too hot")]
    assert [row.row["seq"] for row in second.dead] == [9]
    assert (first.rows, second.rows) == (3, 3)


async def test_a_request_of_poison_only(service: FakeWriteService) -> None:
    """All rows refused: nothing is left to send, and the rest goes on."""
    service.poison = lambda row: "no" if row["seq"] <= 2 else None
    async with writing(service) as writer:
        delivery = writer.submit(requests(2, 2))
        await writer.settle(delivery)
    assert seqs(service) == [3, 4]
    assert len(delivery.dead) == 2


async def test_missing_columns_are_added_and_the_rows_sent_again(service: FakeWriteService) -> None:
    """The table is brought up to date when the service says that it lacks columns."""
    names = set(arrow_schema("readings").names)
    service.columns = names - {"verdict"}
    asked = 0

    async def add_columns() -> None:
        nonlocal asked
        asked += 1
        service.columns = names

    async with writing(service, add_columns) as writer:
        await writer.settle(writer.submit(requests(2)))
    assert seqs(service) == [1, 2]
    assert asked == 1


async def test_columns_that_are_not_visible_yet_are_retryable(service: FakeWriteService) -> None:
    """BigQuery takes a while to see a new column: the driver waits, and the rows go in later."""
    service.columns = {"seq"}
    async with writing(service) as writer:
        delivery = writer.submit(requests(2))
        with pytest.raises(RetryableSinkError, match="SCHEMA_MISMATCH_EXTRA_FIELDS"):
            await writer.settle(delivery)
        service.columns = None
        await writer.settle(delivery)
    assert seqs(service) == [1, 2]


@pytest.mark.parametrize(
    ("step", "error", "text"),
    [
        (Refuse(Code.RESOURCE_EXHAUSTED), RetryableSinkError, "RESOURCE_EXHAUSTED"),
        (Refuse(Code.PERMISSION_DENIED), TerminalSinkError, "dataEditor"),
        (Refuse(Code.INVALID_ARGUMENT), TerminalSinkError, "INVALID_ARGUMENT: as planned"),
        (Cut(False, grpc.StatusCode.PERMISSION_DENIED), TerminalSinkError, "dataEditor"),
        (Cut(False, grpc.StatusCode.UNAUTHENTICATED), TerminalSinkError, "credentials"),
        (Cut(False, grpc.StatusCode.RESOURCE_EXHAUSTED), RetryableSinkError, "RESOURCE_EXHAUSTED"),
    ],
    ids=str,
)
async def test_what_is_not_the_writers_to_solve(
    service: FakeWriteService, step: Step, error: type[Exception], text: str
) -> None:
    """It says why, keeps the rows, and goes on when it is asked again."""
    service.plan.append(step)
    async with writing(service) as writer:
        delivery = writer.submit(requests(2, 2))
        with pytest.raises(error, match=text):
            await writer.settle(delivery)
        await writer.settle(delivery)
    assert seqs(service) == [1, 2, 3, 4]


async def test_a_failure_is_told_to_every_delivery(service: FakeWriteService) -> None:
    """Deliveries that wait side by side all hear of it, and all get through later."""
    service.plan.append(Refuse(Code.RESOURCE_EXHAUSTED))
    async with writing(service) as writer:
        deliveries = [writer.submit(requests(2, first=1 + 2 * index)) for index in range(3)]
        heard = await asyncio.gather(*map(writer.settle, deliveries), return_exceptions=True)
        assert [type(error) for error in heard] == [RetryableSinkError] * 3
        await asyncio.gather(*map(writer.settle, deliveries))
    assert seqs(service) == list(range(1, 7))


async def test_a_service_that_only_cuts_is_left_to_the_driver(service: FakeWriteService) -> None:
    """A few connections without progress, then the driver's back-off; the rows are kept."""
    service.plan.extend([Cut(written=False)] * QUICK.tries)
    async with writing(service) as writer:
        delivery = writer.submit(requests(2))
        with pytest.raises(RetryableSinkError, match="UNAVAILABLE"):
            await writer.settle(delivery)
        assert service.connections == QUICK.tries
        await writer.settle(delivery)
    assert seqs(service) == [1, 2]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.UNAVAILABLE, RetryableSinkError),
        (grpc.StatusCode.NOT_FOUND, TerminalSinkError),
        (grpc.StatusCode.PERMISSION_DENIED, TerminalSinkError),
    ],
)
async def test_a_stream_that_cannot_be_made(
    service: FakeWriteService, code: grpc.StatusCode, error: type[Exception]
) -> None:
    """A table that is not there stops the sink; a service that is away does not."""
    service.refuse_streams.append(code)
    async with writing(service) as writer:
        delivery = writer.submit(requests(1))
        with pytest.raises(error):
            await writer.settle(delivery)
        await writer.settle(delivery)
    assert seqs(service) == [1]


async def test_a_stream_that_is_gone_without_a_trace(service: FakeWriteService) -> None:
    """Its rows are settled as far as they were acknowledged; writing goes on in another stream."""
    async with writing(service) as writer:
        await writer.settle(writer.submit(requests(2)))
        service.streams.clear()
        await writer.settle(writer.submit(requests(2, first=3)))
    assert seqs(service) == [3, 4]


async def test_a_service_that_ends_an_idle_connection(service: FakeWriteService) -> None:
    """The next delivery opens another one, without an error in between."""
    async with writing(service) as writer:
        await writer.settle(writer.submit(requests(1)))
        service.plan.append(End())
        await writer.settle(writer.submit(requests(1, first=2)))
    assert seqs(service) == [1, 2]


async def test_cancelled_deliveries_leave_the_writer_whole(service: FakeWriteService) -> None:
    """A waiting delivery that is cancelled does not take the others along."""
    answer = asyncio.Event()
    service.plan.append(Hold(answer))
    async with writing(service) as writer:
        first, second = writer.submit(requests(1)), writer.submit(requests(1, first=2))
        waiting = asyncio.create_task(writer.settle(first))
        other = asyncio.create_task(writer.settle(second))
        await wait_until(lambda: service.requests > 0)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        answer.set()
        await other
    assert seqs(service) == [1, 2]


async def test_no_row_is_twice_over_a_long_unquiet_run(service: FakeWriteService) -> None:
    """Hundreds of requests with trouble every few: each row is there once, every delivery adds up."""
    trouble: Sequence[Step] = [
        Cut(written=True),
        Refuse(Code.INTERNAL),
        Cut(written=False),
        Refuse(Code.INVALID_ARGUMENT, "STREAM_FINALIZED"),
        End(),
    ]
    service.poison = lambda row: "no" if row["seq"] % 37 == 0 else None
    deliveries: list[Delivery] = []
    async with writing(service) as writer:
        for index in range(60):
            quiet = asyncio.Event()
            quiet.set()
            service.plan.extend([Hold(quiet), Hold(quiet), trouble[index % len(trouble)]])
            deliveries.append(writer.submit(requests(2, 3, 1, first=1 + 6 * index)))
            await writer.settle(deliveries[-1])
    wanted = Counter(seq for seq in range(1, 361) if seq % 37)
    assert Counter(seqs(service)) == wanted
    assert sum(delivery.rows for delivery in deliveries) == wanted.total()
    dead: list[Any] = [row.row["seq"] for delivery in deliveries for row in delivery.dead]
    assert dead == [seq for seq in range(1, 361) if seq % 37 == 0]
