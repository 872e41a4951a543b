"""What the worker says over NATS core: its status each second, and windows as they close."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec
import nats.errors
import pyarrow as pa
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from ext_proc.follower.follower import Follower
from ext_proc.journal.append import sentence
from ext_proc.journal.live import Watched, live_messages
from ext_proc.session.bad_input import Sample
from ext_proc.worker.shards import ShardKeeper
from wire.ids import format_epoch
from wire.names import LIVE_WATCH_SUBJECT, live_subject, worker_status_subject
from wire.status import RejectedInput, WorkerStatus

log = structlog.get_logger(__name__)

STATUS_S: Final = 1.0

State = Literal["starting", "running", "paused", "stopping"]


class LivePublisher:
    """Publishes live windows of the sensors that somebody looks at (docs/adr/0017).

    They are not durable: while NATS is away they are dropped and counted.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._watched = Watched()
        self.dropped = 0

    async def start(self) -> None:
        """Listen to who looks."""
        await self._client.subscribe(LIVE_WATCH_SUBJECT, cb=self._hear)

    async def _hear(self, message: Msg) -> None:
        self._watched.hear(message.data.decode(errors="replace"), time.monotonic())

    async def __call__(self, rows: pa.RecordBatch) -> None:
        """Publish rows of WINDOWS_SCHEMA, a message for each sensor."""
        for sensor_id, message in live_messages(self._watched.of(rows, time.monotonic())):
            try:
                await self._client.publish(live_subject(sensor_id), message)
            except nats.errors.Error:
                self.dropped += 1


async def worker_status(
    node_id: str, follower: Follower, keepers: list[ShardKeeper], *, stopping: bool
) -> bytes:
    """Return what the worker is doing, in one message: wire.status.WorkerStatus as JSON."""
    streams = await follower.statuses()
    state, message = _state(keepers, stopping=stopping)
    if message is None and follower.leaks:
        message = f"bytes of a body reached the follower {follower.leaks} times: ext_proc let them through"
    status = WorkerStatus(
        node_id=node_id,
        pid=os.getpid(),
        now_unix_ns=time.time_ns(),
        state=state,
        message=message,
        shards=sorted(keeper.shard for keeper in keepers if keeper.journal is not None),
        readings_per_s=round(sum(stream.readings_per_s for stream in streams), 3),
        streams=[],
        rejected=dict(follower.bad_input.counts),
        rejected_last=[_rejected(sample) for sample in follower.bad_input.samples],
    )
    return msgspec.json.encode(status.model_dump() | {"streams": streams})


def _rejected(sample: Sample) -> RejectedInput:
    rejection = sample.rejection
    return RejectedInput(
        sensor_id=sample.sensor_id,
        reason=rejection.reason,
        stream=sample.stream,
        epoch=format_epoch(rejection.epoch),
        offset=rejection.offset,
        head_hex=rejection.head.hex(),
        at_unix_ns=sample.at_unix_ns,
    )


def _state(keepers: list[ShardKeeper], *, stopping: bool) -> tuple[State, str | None]:
    if stopping:
        return "stopping", None
    for keeper in keepers:
        trouble = keeper.message or (keeper.journal.trouble if keeper.journal else None)
        if trouble:
            return "paused", trouble
    return ("running", None) if any(keeper.held for keeper in keepers) else ("starting", None)


async def publish_status(client: Client, node_id: str, current: Callable[[], Awaitable[bytes]]) -> None:
    """Publish the status each second until cancelled."""
    subject = worker_status_subject(node_id)
    while True:
        try:
            await client.publish(subject, await current())
        except nats.errors.Error as error:  # whoever listens hears nothing either: the next one will do
            log.debug("status_not_published", reason=sentence(error))
        await asyncio.sleep(STATUS_S)
