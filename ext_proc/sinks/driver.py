"""A sink as a whole: the target started and kept started, a pump for each stream, one status of it all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Sequence
from typing import Final, Literal

import nats.errors
import structlog
from nats.aio.client import Client

from ext_proc.ending import end
from ext_proc.journal.append import PUBLISH_TIMEOUT_S, sentence
from ext_proc.sinks.backoff import Backoff
from ext_proc.sinks.dead_letters import DeadLetters
from ext_proc.sinks.errors import RetryableSinkError, TerminalSinkError
from ext_proc.sinks.model import Target
from ext_proc.sinks.pump import SLOW_S, Pump, State, Tools
from ext_proc.sinks.store import CursorStore
from wire.names import sink_status_subject
from wire.status import SinkStatus

log = structlog.get_logger(__name__)

STATUS_S: Final = 1.0
CLOSE_S: Final = 5.0
FLUSH_S: Final = 1.0


class Driver:
    """Runs one sink.

    Args:
        client: NATS.
        name: The sink's name: of its cursors, status and dead letters.
        shards: How many shards there are.
        target: Where to deliver; started and closed here.
    """

    def __init__(self, client: Client, name: str, shards: int, target: Target) -> None:
        self._client = client
        self._name = name
        self._target = target
        js = client.jetstream(timeout=PUBLISH_TIMEOUT_S)
        self._store = CursorStore(js, name)
        self._started = asyncio.Event()
        self._start_trouble: tuple[Literal["retrying", "failed"], str] | None = None
        tools = Tools(client, target, self._store, DeadLetters(js, name), self._started)
        self._pumps = [Pump(tools, kind, shard) for kind in target.kinds for shard in range(shards)]

    async def run(self) -> None:
        """Deliver until cancelled, then end in order. Only what nothing foresaw ends it by itself."""
        tasks = [
            asyncio.create_task(self._store.run(), name="cursors"),
            asyncio.create_task(self._publish_status(), name="status"),
            asyncio.create_task(self._start_target(), name="start"),
            *(asyncio.create_task(pump.run()) for pump in self._pumps),
        ]
        try:
            await _first_error(tasks)
        finally:
            await end(*tasks)
            await self._close()

    def status(self) -> SinkStatus:
        """Return how the sink does."""
        now_unix_ns = time.time_ns()
        lags = [pump.lag(now_unix_ns) for pump in self._pumps]
        counts = [pump.counts for pump in self._pumps]
        state, message = self._condition()
        return SinkStatus(
            sink=self._name,
            pid=os.getpid(),
            now_unix_ns=now_unix_ns,
            state=state,
            message=message,
            rows_delivered=sum(count.rows for count in counts),
            lag_rows=sum(lag.rows for lag in lags),
            lag_s=round(max((lag.seconds for lag in lags), default=0.0), 3),
            dead_letters=sum(count.dead for count in counts),
            given_up=sum(count.given_up for count in counts),
            retention_gaps=sum(count.gaps for count in counts),
        )

    def _condition(self) -> tuple[State, str | None]:
        """Return the worst that any part says."""
        if self._start_trouble is not None:
            return self._start_trouble
        for state in ("failed", "retrying"):
            for pump in self._pumps:
                if pump.state == state:
                    return pump.state, pump.message
        return "running", next((pump.message for pump in self._pumps if pump.message), None)

    async def _start_target(self) -> None:
        backoff = Backoff(first_s=0.5, most_s=SLOW_S)
        while True:
            try:
                await self._target.start()
            except RetryableSinkError as error:
                trouble = self._start_trouble = "retrying", error.reason
                wait_s = error.retry_after_s or backoff.wait_s(random.random())
            except TerminalSinkError as error:
                trouble = self._start_trouble = "failed", error.reason
                wait_s = SLOW_S * (0.5 + 0.5 * random.random())
            else:
                self._start_trouble = None
                self._started.set()
                log.info("sink_started", sink=self._name, target=self._target.name)
                return
            log.error("sink_not_started", sink=self._name, state=trouble[0], reason=trouble[1])
            await asyncio.sleep(wait_s)

    async def _publish_status(self) -> None:
        subject = sink_status_subject(self._name)
        while True:
            try:
                await self._client.publish(subject, self.status().model_dump_json().encode())
            except nats.errors.Error as error:  # whoever listens hears nothing either: the next one will do
                log.debug("status_not_published", reason=sentence(error))
            await asyncio.sleep(STATUS_S)

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._target.close()
        except TimeoutError:
            log.warning("target_not_closed", sink=self._name, within_s=CLOSE_S)
        with contextlib.suppress(nats.errors.Error, TimeoutError, OSError):
            async with asyncio.timeout(FLUSH_S):
                await self._store.flush()


async def _first_error(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait until a task fails, and raise its error."""
    waiting = set(tasks)
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
