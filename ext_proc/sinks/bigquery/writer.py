"""Write rows of one table to a COMMITTED stream of the Storage Write API.

Google's own AppendRowsStream does not retry and fails every pending future
when its call drops. This one keeps what is not acknowledged (pending.py) and
sends it again at the same offsets, so that within the life of a writer every
row is in the table once, whatever happens to connections. A new process
writes to a new stream and does not know what its predecessor wrote after the
last cursor: those rows come twice, with equal keys.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa
import structlog
from google.api_core.exceptions import GoogleAPICallError
from google.cloud.bigquery_storage_v1 import types
from google.cloud.bigquery_storage_v1.services.big_query_write import BigQueryWriteAsyncClient

from ext_proc.sinks.bigquery.appends import append_request, refusal_in, refusal_of
from ext_proc.sinks.bigquery.errors import Action, Code, Refusal, classify, classify_opening, sentence
from ext_proc.sinks.bigquery.pending import AppendQueue, Delivery
from ext_proc.sinks.bigquery.rows import arrow_schema, serialize
from ext_proc.sinks.errors import RetryableSinkError, SinkError, TerminalSinkError
from ext_proc.sinks.model import Kind

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WriterLimits:
    """How patient a writer is.

    Attributes:
        in_flight: Requests sent and not answered, at most.
        answer_s: How long an answer may take before the connection is given up.
        tries: Connections without any progress before the driver's back-off takes over.
        pause_s: Longest wait between two of them.
    """

    in_flight: int = 10
    answer_s: float = 60.0
    tries: int = 4
    pause_s: float = 0.5


class TableWriter:
    """Rows of one table, from any number of deliveries side by side, over one connection."""

    def __init__(
        self,
        client: BigQueryWriteAsyncClient,
        table: str,
        kind: Kind,
        add_columns: Callable[[], Awaitable[None]],
        limits: WriterLimits | None = None,
    ) -> None:
        """Make a writer; it connects when there is something to write.

        Args:
            client: Where to write.
            table: `projects/P/datasets/D/tables/T`.
            kind: What rows they are.
            add_columns: Brings the table up to date; may raise SinkError.
            limits: How patient it is.
        """
        self._client = client
        self._table = table
        self._kind: Kind = kind
        self._add_columns = add_columns
        self._limits = limits or WriterLimits()
        self._queue = AppendQueue(self._limits.in_flight)
        self._stream: str | None = None
        self._schema: bytes = arrow_schema(kind).serialize().to_pybytes()
        self._to_send = asyncio.Event()
        self._changed = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    @property
    def unanswered(self) -> int:
        """How many requests the service has not answered yet."""
        return self._queue.unanswered

    def submit(self, parts: Iterable[pa.Table]) -> Delivery:
        """Queue public rows, in requests of about a megabyte; `settle` sees them through."""
        delivery = Delivery()
        self._queue.add(delivery, parts)
        return delivery

    async def settle(self, delivery: Delivery) -> None:
        """Return when every row of `delivery` is in the table or dead.

        Raises RetryableSinkError or TerminalSinkError. The rows stay queued
        then: call it again, do not submit them again.
        """
        while delivery.waiting:
            if self._running is None:
                self._failure = None
                self._running = asyncio.create_task(self._run())
                self._running.add_done_callback(self._ended)
            self._to_send.set()
            await self._changed.wait()
            if self._failure is not None and delivery.waiting:
                raise self._failure

    async def close(self) -> None:
        """End the connection; what is queued is forgotten."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running = None
        if task.cancelled():
            self._failure = RetryableSinkError(f"{self._table}: the sink is closing")
        else:
            self._failure = task.exception()
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _run(self) -> None:
        """Keep a connection while there is work, and after it until the service ends it."""
        fruitless = 0
        while True:
            if self._stream is None:
                await self._open_stream()
            before = self._queue.settled
            refusal = await self._connection()
            if not self._queue:
                return
            fruitless = fruitless + 1 if self._queue.settled == before else 1
            await self._react(refusal, fruitless)

    async def _react(self, refusal: Refusal, fruitless: int) -> None:
        action, text = classify(refusal), sentence(refusal, self._table)
        log.info("bigquery_append_refused", action=action.name, reason=text)
        if action is Action.STOP:
            raise TerminalSinkError(text)
        if action is Action.BACK_OFF or fruitless >= self._limits.tries:
            raise RetryableSinkError(text)
        if action is Action.ACCEPT:
            self._queue.accept()
            self._notify()
        elif action is Action.DROP_ROWS:
            # Requests behind it may still be on their way: they must not find room in the stream.
            await self._leave_stream()
            self._queue.drop_rows(refusal.row_errors)
            self._notify()
        elif action is Action.NEW_STREAM:
            await self._leave_stream()
        else:
            if action is Action.ADD_COLUMNS:
                await self._add_columns()
            await asyncio.sleep(random.uniform(0.1, 1.0) * self._limits.pause_s)

    async def _connection(self) -> Refusal:
        """Send and settle until the service refuses or ends; return why."""
        self._queue.reconnected()
        self._to_send = to_send = asyncio.Event()
        call = None
        try:
            async with asyncio.timeout(self._limits.answer_s) as deadline:
                call = await self._client.append_rows(
                    self._requests(to_send, deadline), retry=None, timeout=None, metadata=self._routing()
                )
                async for response in call:
                    refusal = refusal_in(response)
                    if refusal is not None and classify(refusal) is not Action.ACCEPT:
                        return refusal
                    self._queue.accept()
                    self._expect(deadline)
                    self._to_send.set()
                    self._notify()
        except TimeoutError:
            return Refusal(Code.DEADLINE_EXCEEDED, f"no answer within {self._limits.answer_s:g} s")
        except GoogleAPICallError as error:
            return refusal_of(error)
        finally:
            self._to_send = asyncio.Event()
            to_send.set()
            if call is not None:
                call.cancel()
        return Refusal(Code.UNAVAILABLE, "the service ended the connection")

    async def _requests(
        self, to_send: asyncio.Event, deadline: asyncio.Timeout
    ) -> AsyncIterator[types.AppendRowsRequest]:
        """Yield requests as there are, until the connection that owns `to_send` is over.

        gRPC does not cancel this generator when the service ends the call.
        """
        schema: bytes | None = self._schema
        assert self._stream is not None
        while self._to_send is to_send:
            taken = self._queue.take()
            if taken is None:
                to_send.clear()
                await to_send.wait()
                continue
            append, offset = taken
            if self._queue.unanswered == 1:
                self._expect(deadline)
            yield append_request(self._stream, offset, serialize(self._kind, append.rows), schema)
            schema = None

    def _expect(self, deadline: asyncio.Timeout) -> None:
        """Give the next answer its time from now; none is awaited while nothing is unanswered."""
        if deadline.expired():
            return
        now = asyncio.get_running_loop().time()
        deadline.reschedule(now + self._limits.answer_s if self._queue.unanswered else None)

    def _routing(self) -> list[tuple[str, str]]:
        return [("x-goog-request-params", f"write_stream={self._stream}")]

    async def _open_stream(self) -> None:
        wanted = types.WriteStream(type_=types.WriteStream.Type.COMMITTED)
        try:
            stream = await self._client.create_write_stream(
                parent=self._table, write_stream=wanted, retry=None, timeout=self._limits.answer_s
            )
        except GoogleAPICallError as error:
            raise self._opening_error(error) from error
        self._stream = stream.name
        self._queue.stream_opened()

    async def _leave_stream(self) -> None:
        """Close the stream for good, and settle what went in."""
        assert self._stream is not None
        try:
            ended = await self._client.finalize_write_stream(
                name=self._stream, retry=None, timeout=self._limits.answer_s
            )
        except GoogleAPICallError as error:
            if refusal_of(error).code != Code.NOT_FOUND:
                raise self._opening_error(error) from error
            log.warning(
                "bigquery_stream_gone",
                consequence="rows that were unanswered may be written twice",
                table=self._table,
                requests=self._queue.unanswered,
            )
        else:
            self._queue.stream_ended(ended.row_count)
            self._notify()
        self._stream = None

    def _opening_error(self, error: GoogleAPICallError) -> SinkError:
        refusal = refusal_of(error)
        text = sentence(refusal, self._table)
        stop = classify_opening(refusal) is Action.STOP
        return TerminalSinkError(text) if stop else RetryableSinkError(text)
