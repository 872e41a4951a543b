"""Events of rules, read from the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from control_plane.rule_model import EventsUnavailableError
from control_plane.store.connection import REQUEST_TIMEOUT_S, sentence
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.names import events_stream, events_subject

log = structlog.get_logger(__name__)

MAX_RECORDS: Final = 5_000  # of a shard: only the newest so many are looked at
_FETCH: Final = 256
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Event = dict[str, Any]
"""A CloudEvent in structured JSON form (wire.events)."""


async def events_of_shards(client: Client, shards: int, since_unix_ns: int) -> list[Event]:
    """Return the events that entered the journal since then, by their own time.

    Raises EventsUnavailableError.
    """
    js = client.jetstream(timeout=REQUEST_TIMEOUT_S)
    try:
        async with asyncio.TaskGroup() as tasks:
            reading = [tasks.create_task(_records(js, shard, since_unix_ns)) for shard in range(shards)]
    except* (nats.errors.Error, TimeoutError, OSError) as errors:
        raise EventsUnavailableError(sentence(errors.exceptions[0])) from errors
    records = [record for task in reading for record in task.result()]
    # In a thread: reading Arrow for the first time loads it.
    return await asyncio.to_thread(_decoded, records)


async def _records(js: JetStreamContext, shard: int, since_unix_ns: int) -> list[bytes]:
    since = _EPOCH + timedelta(microseconds=since_unix_ns // 1000)
    by_time = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=since)
    try:
        state = (await js.stream_info(events_stream(shard))).state
    except nats.js.errors.NotFoundError:
        return []  # no worker has opened the shard yet
    if not state.messages:
        return []
    found = await _read(js, shard, by_time)
    if found is None:
        first = state.last_seq - MAX_RECORDS + 1
        newest = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=first)
        found = await _read(js, shard, newest)
    return found or []


async def _read(js: JetStreamContext, shard: int, config: ConsumerConfig) -> list[bytes] | None:
    """Return the records from where `config` begins; None if they are far too many."""
    config.ack_policy, config.mem_storage, config.inactive_threshold = AckPolicy.NONE, True, 30.0
    reader = await js.pull_subscribe(events_subject(shard), stream=events_stream(shard), config=config)
    try:
        left = int((await reader.consumer_info()).num_pending or 0)
        if left > 2 * MAX_RECORDS:
            return None
        found: list[bytes] = []
        while left > 0:
            messages = await reader.fetch(min(_FETCH, left), timeout=REQUEST_TIMEOUT_S)
            found += [message.data for message in messages]
            left -= len(messages)
        return found
    finally:
        await reader.unsubscribe()


def _decoded(records: Sequence[bytes]) -> list[Event]:
    from wire.events import EVENTS_SCHEMA, structured  # noqa: PLC0415 - loads Arrow
    from wire.journal import JournalFormatError, check_schema, decode_rows  # noqa: PLC0415

    events: list[Event] = []
    for data in records:
        record = journal_pb2.WindowsRecord.FromString(data)
        try:
            check_schema(record.schema)
            events += structured(decode_rows(record.rows, EVENTS_SCHEMA))
        except JournalFormatError as error:
            log.warning("events_unreadable", reason=str(error))
    return sorted(events, key=lambda event: str(event["time"]))
