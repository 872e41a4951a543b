"""Reading one stream of the journal from a cursor on, by pull requests of a bounded size.

A consumer of our own with no acknowledgements: it only holds the place from
which the next request goes on. It lives in the server's memory and is made
again whenever it is gone, always from the cursor, which is compared with the
stream each time.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamInfo

from ext_proc.journal.append import PUBLISH_TIMEOUT_S
from ext_proc.sinks.cursors import Found, NotYet, Start, StartOfNewer, agrees, place
from ext_proc.sinks.lag import StreamSize
from ext_proc.sinks.model import Chunk, Kind, Position
from ext_proc.sinks.records import Damaged, decode, position_of, stream_of, subject_of

PULL_RECORDS: Final = 500
PULL_BYTES: Final = 4 << 20  # or the largest message, if that is more
EXPIRES_S: Final = 30.0
HEARTBEAT_S: Final = 2.0
SILENCE_S: Final = 2.5 * HEARTBEAT_S
INACTIVE_S: Final = 60.0
_HEADERS_BYTES: Final = 64 << 10
_NS: Final = 1_000_000_000

_HEARTBEAT: Final = "100"
_OVER: Final = ("404", "408")  # nothing there; the request's time is up
_CONFLICT: Final = "409"
_CONFLICTS_OF_A_REQUEST: Final = ("maxbytes", "batch completed", "maxrequest", "maxwaiting")


class StreamLostError(Exception):
    """The consumer is gone, or gave something else than the next record: open again."""


class NotYetError(Exception):
    """There is nothing to read from now; the text says why, in a sentence."""


class StreamReader:
    """Reads the stream of a kind and shard.

    Attributes:
        position: The last record that was returned; None before the first, and after going back.
        pending: Records after `position` when it was sent.
        skipped: Records (first, last) that were discarded before they were read; the caller clears it.
    """

    def __init__(self, client: Client, kind: Kind, shard: int, position: Position | None) -> None:
        self._client = client
        self._js: JetStreamContext = client.jetstream(timeout=PUBLISH_TIMEOUT_S)
        self._kind: Kind = kind
        self._shard = shard
        self._subscription: Subscription | None = None
        self._consumer = ""
        self._expected = 0
        self._asked = 0  # records that the request under way may still bring
        self._silent_s = 0.0
        self._reconnects = 0
        self._ended_at: int | None = None  # where the stream ended when it was too short
        self.stream = stream_of(kind, shard)
        self.position = position
        self.pending = 0
        self.skipped: list[tuple[int, int]] = []

    async def open(self) -> Start:
        """Find the place of `position` in the stream and make a consumer there.

        Raises NotYetError, or nats errors.
        """
        await self.close()
        start = await self._place()
        if start.rewound:
            self.position = None
        self._expected = start.seq
        self._asked, self._silent_s = 0, 0.0
        self._reconnects = self._client.stats["reconnects"]
        inbox = self._client.new_inbox()
        self._subscription = await self._client.subscribe(inbox)
        self._consumer = inbox.rpartition(".")[2]
        config = ConsumerConfig(
            name=self._consumer,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=start.seq,
            ack_policy=AckPolicy.NONE,
            filter_subject=subject_of(self._kind, self._shard),
            mem_storage=True,
            num_replicas=1,
            inactive_threshold=INACTIVE_S,
        )
        await self._js.add_consumer(self.stream, config=config)
        return start

    async def next(self, timeout_s: float) -> Chunk | Damaged | None:
        """Return the next record, None if none comes within `timeout_s`.

        Raises StreamLostError, TerminalSinkError (a newer journal), or nats errors.
        """
        assert self._subscription is not None
        deadline = time.monotonic() + timeout_s
        while True:
            if not self._client.is_connected or self._client.stats["reconnects"] != self._reconnects:
                raise StreamLostError(f"{self.stream}: the connection was lost")
            if self._asked <= 0:
                await self._ask()
            wait_s = min(deadline - time.monotonic(), SILENCE_S - self._silent_s)
            begun = time.monotonic()
            try:
                message = await self._subscription.next_msg(timeout=max(wait_s, 0.001))
            except nats.errors.TimeoutError:
                self._silent_s += time.monotonic() - begun
                if self._silent_s >= SILENCE_S:
                    raise StreamLostError(f"{self.stream}: the server is silent") from None
                return None
            self._silent_s = 0.0
            if self._is_record(message):
                return await self._take(message)

    async def size(self) -> StreamSize:
        """Return what the stream holds now. Raises nats errors."""
        info = await self._js.stream_info(self.stream)
        return StreamSize(
            info.state.first_seq,
            info.state.last_seq,
            info.state.bytes,
            info.config.max_age or 0.0,
            info.config.max_bytes or 0,
        )

    async def close(self) -> None:
        """Let go of the consumer; the server forgets it by itself if it cannot be told."""
        subscription, self._subscription = self._subscription, None
        if subscription is None:
            return
        with contextlib.suppress(nats.errors.Error, TimeoutError, OSError):
            await subscription.unsubscribe()
            await self._js.delete_consumer(self.stream, self._consumer)

    async def _ask(self) -> None:
        request = {
            "batch": PULL_RECORDS,
            "max_bytes": max(PULL_BYTES, self._client.max_payload + _HEADERS_BYTES),
            "expires": int(EXPIRES_S * _NS),
            "idle_heartbeat": int(HEARTBEAT_S * _NS),
        }
        assert self._subscription is not None
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{self._consumer}"
        await self._client.publish(subject, json.dumps(request).encode(), reply=self._subscription.subject)
        self._asked = PULL_RECORDS

    def _is_record(self, message: Msg) -> bool:
        """Say whether it is a record; what else it says of the request is taken in."""
        headers = message.headers or {}
        status = headers.get("Status")
        if status is None:
            self._asked -= 1
            return True
        words = headers.get("Description", "").lower()
        if status == _HEARTBEAT:
            return False
        if status in _OVER or (status == _CONFLICT and _of_request(words)):
            self._asked = 0
            return False
        raise StreamLostError(f"{self.stream}: {words or status}")

    async def _take(self, message: Msg) -> Chunk | Damaged:
        metadata = message.metadata
        seq = int(metadata.sequence.stream)
        if seq != self._expected and not await self._is_next(seq):
            raise StreamLostError(f"{self.stream}: {seq} came, not {self._expected}")
        found = decode(self._kind, self._shard, seq, message.data, self.position)
        chunk = found.chunk if isinstance(found, Damaged) else found
        before = self.position
        if before is not None and chunk.generation != before.generation and not await self._is_still(before):
            raise StreamLostError(f"{self.stream}: its end was lost and written anew")
        self.position = chunk.position
        self._expected = seq + 1
        self.pending = int(metadata.num_pending)
        return found

    async def _is_next(self, seq: int) -> bool:
        """Say whether the stream itself has nothing between what is expected and `seq`."""
        if seq < self._expected:
            return False
        subject = subject_of(self._kind, self._shard)
        found = await self._js.get_msg(self.stream, seq=self._expected, subject=subject, next=True)
        if int(found.seq or 0) != seq:
            return False  # it was lost on the way here
        if self.position is not None:
            self.skipped.append((self._expected, seq - 1))
        return True

    async def _is_still(self, position: Position) -> bool:
        info = await self._js.stream_info(self.stream)
        found = await self._position_at(position.seq, info)
        return found is None or agrees(position, found)

    async def _place(self) -> Start:
        try:
            info = await self._js.stream_info(self.stream)
        except nats.js.errors.NotFoundError as error:
            raise NotYetError(f"{self.stream} does not exist yet: waiting for a worker") from error
        first, last = info.state.first_seq, info.state.last_seq
        cursor = self.position
        found = Found(
            max(first, 1),
            last,
            at_cursor=await self._position_at(cursor.seq, info) if cursor else None,
            last=await self._position_at(last, info) if cursor else None,
            growing=self._ended_at is not None and last > self._ended_at,
        )
        decided = place(self._kind, cursor, found)
        self._ended_at = None
        match decided:
            case Start():
                return decided
            case StartOfNewer(generation):
                return Start(await self._first_above(generation, info), rewound=True)
            case NotYet(reason):
                self._ended_at = last
                raise NotYetError(f"{self.stream}: {reason}")

    async def _first_above(self, generation: int, info: StreamInfo) -> int:
        """Return the first sequence of a generation above `generation`, which rises along the stream."""
        low, high = max(int(info.state.first_seq), 1), int(info.state.last_seq)
        while low < high:
            middle = (low + high) // 2
            found = await self._position_at(middle, info)
            if found is not None and found.generation > generation:
                high = middle
            else:
                low = middle + 1
        return low

    async def _position_at(self, seq: int, info: StreamInfo) -> Position | None:
        if not info.state.first_seq <= seq <= info.state.last_seq:
            return None
        try:
            message = await self._js.get_msg(self.stream, seq=seq)
        except nats.js.errors.NotFoundError:
            return None
        return position_of(self._kind, seq, message.data or b"")


def _of_request(words: str) -> bool:
    """Say whether a conflict only ends the request, not the consumer."""
    squeezed = words.replace(" ", "")
    return any(conflict.replace(" ", "") in squeezed for conflict in _CONFLICTS_OF_A_REQUEST)
