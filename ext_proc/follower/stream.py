"""One sensor's stream: opened, watched, reset, opened again; and what ext_proc sees of it."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from ext_proc.follower.gateway import Gateway, LeakedBytesError, StreamRequest
from ext_proc.follower.pacing import Backoff, Pacer
from ext_proc.follower.state import StreamState
from ext_proc.journal.errors import ShardClosedError
from ext_proc.session.bad_input import BadInput
from ext_proc.session.cursor import SensorCursor
from ext_proc.session.encodings import CONTENT_TYPES, AnySession, open_session
from ext_proc.session.model import Delivery, Readings, SensorProfile, TimeBounds
from wire.ids import format_after, format_epoch, new_epoch
from wire.status import StreamStatus

log = structlog.get_logger(__name__)

SILENT_AFTER_S: Final = 5.0
SILENT_WITHOUT_HEARTBEATS_S: Final = 120.0  # a device that has none must say something more often than this
POLL_S: Final = 1.0  # between two answers of a device that ends each of them
SETTLED_AFTER_S: Final = 5.0  # a stream that lived this long begins its back-off anew
SESSION_END_S: Final = 2.0  # Envoy ends the ext_proc stream within milliseconds of a reset
_NS: Final = 1_000_000_000


class Journal(Protocol):
    """Where a stream delivers to: an open shard (ext_proc.journal.shard.ShardJournal)."""

    def cursor(self, sensor_id: str) -> SensorCursor:
        """Return the sensor's accepted cursor."""
        ...

    def committed(self, sensor_id: str) -> tuple[int, int] | None:
        """Return (epoch, seq) of what is in the journal."""
        ...

    def offer(self, items: Sequence[Delivery]) -> None:
        """Take deliveries. Raises ShardClosedError."""
        ...

    async def room(self) -> None:
        """Wait until more may be offered."""
        ...

    async def flush(self) -> None:
        """Wait until all that was offered is in the journal."""
        ...


class RefusedError(Exception):
    """A stream must be ended: its response is not a stream of frames, or it cannot be read on."""


class StreamAttempt:
    """One opening of a sensor's stream, from its token to the end of its session.

    ext_proc's server calls `on_headers`, `on_body` and `on_end`.
    """

    def __init__(self, stream: SensorStream, number: int) -> None:
        self._stream = stream
        self._number = number
        self._session: AnySession | None = None
        self._claimed = False
        self._ended = asyncio.Event()
        self._over = False
        self._reading = True
        self._active_ns = time.monotonic_ns()
        self.token = secrets.token_hex(16)
        self.refused: str | None = None
        self.polled = False  # the device has answered, in order, with all that it has

    @property
    def silent_after_s(self) -> float:
        """How long the device may say nothing."""
        session = self._session
        return SILENT_AFTER_S if session is None or session.has_heartbeats else SILENT_WITHOUT_HEARTBEATS_S

    @property
    def sensor_id(self) -> str:
        """The sensor that this token was issued for."""
        return self._stream.profile.sensor_id

    def claim(self) -> bool:
        """Bind the ext_proc stream that shows this token; only the first one gets it."""
        if self._claimed:
            return False
        self._claimed = True
        return True

    def on_headers(self, status: int, content_type: str) -> None:
        """Check the response's head. Raises RefusedError.

        A local reply of Envoy (503 for a VM that it does not know, say) comes
        here too, so the status must be looked at.
        """
        if status != 200:
            raise self._refuse(f"the stream was answered with status {status}")
        self._session = self._stream.open_session(content_type)
        if self._session is None:
            known = ", ".join(CONTENT_TYPES)
            raise self._refuse(f"the stream has the content type {content_type!r}, none of {known}")

    async def on_body(self, data: bytes) -> None:
        """Take a piece of the body; returns when the next may be read.

        Raises RefusedError if the stream cannot be read on, ShardClosedError if
        its shard has left this worker.
        """
        if self._over:
            raise self._refuse("the stream was reset")
        stream, session = self._stream, self._session
        if session is None:
            raise self._refuse("the stream has a body before its head")
        before = session.frames
        items = session.feed(data, stream.bounds())
        self._deliver(session, items)
        if session.frames > before:
            stream.note_frames(sum(len(item) for item in items if isinstance(item, Readings)))
            self._active_ns = time.monotonic_ns()
        if session.lost is not None:
            raise self._refuse(f"the stream cannot be read on: {session.lost}")
        self._reading = False
        try:
            await stream.journal.room()
        finally:
            self._reading = True

    def on_end(self, *, complete: bool) -> None:
        """The ext_proc stream is over, in order if `complete`; nothing more will be delivered."""
        session = self._session
        try:
            if session is not None and not self._over:
                self._deliver(session, session.finish(complete=complete))
                self.polled = complete and session.is_polled
        except ShardClosedError:
            log.info("shard_closed_before_end", sensor=self.sensor_id)
        finally:
            self._ended.set()

    def _deliver(self, session: AnySession, items: Sequence[Delivery]) -> None:
        if session.rejections:
            self._stream.reject(self._number, session)
        self._stream.journal.offer(items)

    def change_profile(self, profile: SensorProfile) -> None:
        """Judge the readings that come from here on by `profile`."""
        if self._session is not None:
            self._session.change_profile(profile)

    def silent_at_ns(self) -> int:
        """Return the monotonic time at which the stream counts as silent if no frame comes."""
        if not self._reading:  # we hold it back ourselves, so its silence says nothing
            self._active_ns = time.monotonic_ns()
        return self._active_ns + int(self.silent_after_s * _NS)

    async def end(self) -> None:
        """Wait for the end of the ext_proc stream, at most SESSION_END_S; whatever comes after is refused."""
        try:
            if self._claimed:
                async with asyncio.timeout(SESSION_END_S):
                    await self._ended.wait()
        except TimeoutError:
            log.warning("session_outlived_its_stream", sensor=self.sensor_id)
        finally:
            self._over = True

    def _refuse(self, reason: str) -> RefusedError:
        self.refused = reason
        return RefusedError(reason)


class SensorStream:
    """Keeps one sensor's stream open until it is stopped.

    Args:
        profile: What its session must know.
        cluster: Envoy's cluster of its host.
        endpoint_version: Where its VM is; another one is another SensorStream.
        journal: Its shard.
        gateway: The way to it.
        pacer: Spaces the opens of all streams.
        bounds: Returns the event times that are accepted now.
        tokens: Attempts by token; this stream adds and removes its own.
        bad_input: Takes what cannot be used.

    `leaks` counts the times that bytes of a body reached the follower.
    """

    def __init__(
        self,
        profile: SensorProfile,
        *,
        cluster: str,
        endpoint_version: str,
        journal: Journal,
        gateway: Gateway,
        pacer: Pacer,
        bounds: Callable[[], TimeBounds],
        tokens: dict[str, StreamAttempt],
        bad_input: BadInput,
    ) -> None:
        self.profile = profile
        self.journal = journal
        self.bounds = bounds
        self._cluster = cluster
        self._gateway = gateway
        self._pacer = pacer
        self._tokens = tokens
        self._bad_input = bad_input
        self._cursor = journal.cursor(profile.sensor_id)
        self._backoff = Backoff()
        self._state = StreamState(profile.sensor_id, endpoint_version, time.time_ns())
        self._attempt: StreamAttempt | None = None
        self._task: asyncio.Task[None] | None = None
        self._opened = 0
        self.leaks = 0

    def start(self) -> None:
        """Begin to follow."""
        self._task = asyncio.create_task(self._follow(), name=f"follow {self.profile.sensor_id}")
        self._task.add_done_callback(self._on_done)

    async def stop(self) -> None:
        """Reset the stream and wait until its session is over: nothing more is delivered after this."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def change_profile(self, profile: SensorProfile) -> None:
        """Judge the readings that come from here on by `profile`; the stream stays open."""
        self.profile = profile
        if self._attempt is not None:
            self._attempt.change_profile(profile)

    def open_session(self, content_type: str) -> AnySession | None:
        """Return what reads a body of `content_type`; None if nothing does."""
        return open_session(content_type, self.profile, self._cursor, new_epoch)

    def reject(self, number: int, session: AnySession) -> None:
        """Count, and now and then log, what the stream `number` could not use."""
        for line in self._bad_input.add(
            self.profile.sensor_id, number, session.rejections.take(), time.time_ns()
        ):
            rejection = line.sample.rejection
            log.warning(
                "input_rejected",
                sensor=self.profile.sensor_id,
                stream=number,
                reason=rejection.reason,
                count=rejection.count,
                epoch=format_epoch(rejection.epoch),
                offset=rejection.offset,
                head=rejection.head.hex(),
                unlogged=line.unlogged,
            )

    def note_frames(self, readings: int) -> None:
        """Frames arrived."""
        self._state.frames(readings, time.time_ns())

    def status(self) -> StreamStatus:
        """Return what the stream is doing."""
        committed = self.journal.committed(self.profile.sensor_id)
        return self._state.status(self._cursor.newest, committed, time.time_ns())

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            log.error("following_failed", sensor=self.profile.sensor_id, exc_info=error)
            self._state.ended(f"following failed: {error!r}", time.time_ns())

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._pacer.reserve_s(time.monotonic_ns()))
            await self.journal.room()
            begun = time.monotonic_ns()
            self._state.opening(time.time_ns())
            reason, polled = await self._attempt_once()
            if polled or time.monotonic_ns() - begun >= SETTLED_AFTER_S * _NS:
                self._backoff.reset()
            delay_s = POLL_S if polled else self._backoff.next_s(random.random())
            log.info(
                "stream_ended", sensor=self.profile.sensor_id, reason=reason, again_in_s=round(delay_s, 3)
            )
            await asyncio.sleep(delay_s)

    async def _attempt_once(self) -> tuple[str, bool]:
        """Open the stream and hold it to its end; return why it ended, and whether it answered in full."""
        self._opened += 1
        attempt = StreamAttempt(self, self._opened)
        newest = self._cursor.newest
        request = StreamRequest(
            sensor_id=self.profile.sensor_id,
            cluster=self._cluster,
            token=attempt.token,
            after=format_after(*newest) if newest else None,
        )
        self._tokens[attempt.token] = attempt
        self._attempt = attempt
        hold = asyncio.create_task(self._gateway.hold(request), name=f"hold {request.sensor_id}")
        try:
            silent = await self._watch(attempt, hold)
            if silent:
                self._state.silent(attempt.silent_after_s, time.time_ns())
                return f"no frame for {attempt.silent_after_s:g} s", False
            reason = self._reason(attempt, hold)
            if attempt.polled:
                self._state.answered()
            else:
                self._state.ended(reason, time.time_ns())
            return reason, attempt.polled
        finally:
            hold.cancel()
            await asyncio.wait({hold})
            await attempt.end()
            del self._tokens[attempt.token]  # whoever shows it from here on is aborted
            self._attempt = None

    async def _watch(self, attempt: StreamAttempt, hold: asyncio.Task[str]) -> bool:
        """Wait until the stream ends (False) or is silent for too long (True)."""
        while True:
            remaining_s = (attempt.silent_at_ns() - time.monotonic_ns()) / _NS
            if remaining_s <= 0:
                return True
            done, _ = await asyncio.wait({hold}, timeout=remaining_s)
            if done:
                return False

    def _reason(self, attempt: StreamAttempt, hold: asyncio.Task[str]) -> str:
        error = hold.exception()
        if error is None:
            return attempt.refused or hold.result()
        if isinstance(error, LeakedBytesError):
            self.leaks += 1
            log.error("body_leaked", sensor=self.profile.sensor_id, error=str(error))
            return str(error)
        log.error("stream_failed", sensor=self.profile.sensor_id, exc_info=error)
        return f"{type(error).__name__}: {error}"
