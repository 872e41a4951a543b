"""One KV bucket: mirrored by a watch, written by compare-and-set.

The watch is a plain push consumer of ours, not the client's own watcher: that
one is not told when the server forgets its consumer. Here every reconnect, a
hole in what is delivered, or a stream that is ahead of us begins a new load.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import nats.errors
import nats.js.errors
import structlog
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.kv import KeyValue

from control_plane.model import StoreUnavailableError
from control_plane.store.connection import Connection, sentence
from control_plane.store.mirror import Entry, Mirror

log = structlog.get_logger(__name__)

T = TypeVar("T")
CHECK_S: Final = 5.0  # how often the watch is compared with the stream itself
RETRY_S: Final = 0.25
_OPERATION: Final = "KV-Operation"
_GONE: Final = frozenset({"DEL", "PURGE"})
_AWAY = (nats.errors.Error, TimeoutError, OSError)


class ConflictError(Exception):
    """A key is not at the revision that the writer saw."""

    def __init__(self, bucket: str, key: str) -> None:
        self.key = key
        super().__init__(f"{bucket}: {key} was changed by somebody else")


class _WatchLostError(Exception):
    """The watch cannot be trusted any more; the text says why."""


class Bucket:
    """Keys of one bucket. Reads come from memory and go on while NATS is away.

    Args:
        connection: To NATS.
        name: The bucket's name.
        changed: Called with the keys whose value changed, whoever changed it.
        may_write: Whether this process may write, asked before each write.
    """

    def __init__(
        self,
        connection: Connection,
        name: str,
        changed: Callable[[set[str]], None],
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self._connection = connection
        self._name = name
        self._changed = changed
        self._may_write = may_write
        self._mirror = Mirror()
        self._kv: KeyValue | None = None
        self._loaded = asyncio.Event()
        self._again = asyncio.Event()
        connection.on_reconnect(self._again.set)

    def get(self, key: str) -> Entry | None:
        """Return what is known of a key, None if it is not there."""
        return self._mirror.get(key)

    def items(self) -> dict[str, Entry]:
        """Return every key that is there."""
        return dict(self._mirror.items())

    async def wait_loaded(self) -> None:
        """Wait until the bucket was read whole."""
        await self._loaded.wait()

    # --- writing ----------------------------------------------------------------------------
    async def create(self, key: str, value: bytes) -> int:
        """Write a key that is not there. Raises ConflictError, StoreUnavailableError."""
        kv = await self._writable()
        revision: int = await settled(self._name, key, kv.create(key, value))
        self._changed(self._mirror.wrote(key, value, revision))
        return revision

    async def update(self, key: str, value: bytes, last: int) -> int:
        """Replace revision `last` of a key. Raises ConflictError, StoreUnavailableError."""
        kv = await self._writable()
        revision: int = await settled(self._name, key, kv.update(key, value, last=last))
        self._changed(self._mirror.wrote(key, value, revision))
        return revision

    async def put(self, key: str, value: bytes) -> int:
        """Replace what is known of a key, also that it is not there.

        Raises ConflictError, StoreUnavailableError.
        """
        known = self.get(key)
        return await (self.create(key, value) if known is None else self.update(key, value, known.revision))

    async def delete(self, key: str, last: int) -> None:
        """Delete revision `last` of a key. Raises ConflictError, StoreUnavailableError."""
        kv = await self._writable()
        await settled(self._name, key, kv.delete(key, last=last))
        self._changed(self._mirror.wrote(key, None, last + 1))

    async def _writable(self) -> KeyValue:
        kv = await self._bucket()
        if not self._may_write():
            raise StoreUnavailableError("this control plane does not lead; another one may")
        return kv

    async def _bucket(self) -> KeyValue:
        if self._kv is None:
            try:
                self._kv = await _open(self._connection.js, self._name)
            except _AWAY as error:
                raise StoreUnavailableError(sentence(error)) from error
        return self._kv

    # --- watching ---------------------------------------------------------------------------
    async def watch(self) -> None:
        """Keep the mirror, until cancelled."""
        while True:
            self._again.clear()
            try:
                await self._watch_once()
            except _WatchLostError as error:
                log.info("watch_again", bucket=self._name, reason=str(error))
            except StoreUnavailableError as error:
                log.info("watch_awaits", bucket=self._name, reason=error.reason)
                await self._pause()
            except _AWAY as error:
                log.info("watch_awaits", bucket=self._name, reason=sentence(error))
                await self._pause()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RETRY_S):
                await self._again.wait()

    async def _watch_once(self) -> None:
        """Load the bucket and follow it. Raises _WatchLostError, or what NATS raises."""
        await self._bucket()
        js, stream = self._connection.js, f"KV_{self._name}"
        state = (await js.stream_info(stream)).state
        self._mirror.begin_load()
        feed = _Feed(self._name, self._mirror, self._said_all, self._changed, target=state.last_seq)
        subscription = await js.subscribe(
            f"$KV.{self._name}.>",
            stream=stream,
            cb=feed.take,
            manual_ack=True,
            pending_msgs_limit=-1,
            pending_bytes_limit=-1,
            config=ConsumerConfig(
                deliver_policy=DeliverPolicy.LAST_PER_SUBJECT,
                ack_policy=AckPolicy.NONE,
                inactive_threshold=60.0,
                mem_storage=True,
                num_replicas=1,
            ),
        )
        try:
            if state.messages == 0:
                feed.finish_load()
            await self._follow(feed, js, stream)
        finally:
            feed.closed = True
            with contextlib.suppress(*_AWAY):
                await subscription.unsubscribe()

    async def _follow(self, feed: _Feed, js: JetStreamContext, stream: str) -> None:
        behind_at = -1
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_S):
                    await self._again.wait()
            if self._again.is_set():
                raise _WatchLostError("NATS was away")
            if feed.trouble is not None:
                raise _WatchLostError(feed.trouble)
            last = (await js.stream_info(stream)).state.last_seq
            if last != feed.seen and feed.seen == behind_at:
                raise _WatchLostError(f"the stream is at {last}, the watch stays at {feed.seen}")
            behind_at = feed.seen if last != feed.seen else -1

    def _said_all(self, changed: set[str]) -> None:
        self._loaded.set()
        self._changed(changed)


class _Feed:
    """Takes what one consumer delivers. `seen` is the newest revision, `trouble` a hole in the delivery."""

    def __init__(
        self,
        name: str,
        mirror: Mirror,
        loaded: Callable[[set[str]], None],
        changed: Callable[[set[str]], None],
        *,
        target: int,
    ) -> None:
        self._prefix = len(f"$KV.{name}.")
        self._mirror = mirror
        self._on_loaded = loaded
        self._on_changed = changed
        self._target = target
        self._loading = True
        self._delivered = 0
        self.closed = False  # another watch has begun
        self.seen = 0
        self.trouble: str | None = None

    async def take(self, message: Msg) -> None:
        """Take one delivery."""
        if self.closed:
            return
        meta = message.metadata
        if meta.sequence.consumer != self._delivered + 1:
            self.trouble = f"delivery {meta.sequence.consumer} came after {self._delivered}"
        self._delivered = meta.sequence.consumer
        self.seen = meta.sequence.stream
        gone = (message.headers or {}).get(_OPERATION) in _GONE
        key = message.subject[self._prefix :]
        changed = self._mirror.heard(key, None if gone else message.data, self.seen)
        if self._loading and (meta.num_pending == 0 or self.seen >= self._target):
            self.finish_load()
        elif changed:
            self._on_changed(changed)

    def finish_load(self) -> None:
        """End the load: this is the bucket."""
        self._loading = False
        self.seen = max(self.seen, self._target)
        self._on_loaded(self._mirror.end_load())


async def settled(bucket: str, key: str, writing: Awaitable[T]) -> T:
    """Return a write's result. Raises ConflictError, StoreUnavailableError."""
    try:
        return await writing
    except nats.js.errors.KeyWrongLastSequenceError as error:
        raise ConflictError(bucket, key) from error
    except nats.js.errors.APIError as error:
        if error.err_code in {10071, 10164}:  # wrong last sequence, of a deletion
            raise ConflictError(bucket, key) from error
        raise StoreUnavailableError(sentence(error)) from error
    except _AWAY as error:
        raise StoreUnavailableError(sentence(error)) from error


async def _open(js: JetStreamContext, name: str) -> KeyValue:
    """Return the bucket, made if it is missing."""
    try:
        return await js.key_value(name)
    except nats.js.errors.NotFoundError:
        log.info("bucket_made", bucket=name)
        return await js.create_key_value(bucket=name)
