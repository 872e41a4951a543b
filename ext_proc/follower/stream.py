"""One sensor's stream: opened, watched, reset, opened again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

import structlog

from ext_proc.follower.attempt import Journal, StreamAttempt
from ext_proc.follower.gateway import Gateway, LeakedBytesError, StreamRequest
from ext_proc.follower.opening import Opening
from ext_proc.follower.pacing import Backoff, Pacer
from ext_proc.follower.state import StreamState
from ext_proc.session.bad_input import BadInput
from ext_proc.session.encodings import AnySession, open_session
from ext_proc.session.model import SensorProfile, TimeBounds
from wire.ids import format_after, format_epoch, new_epoch
from wire.status import StreamReport

log = structlog.get_logger(__name__)

POLL_S: Final = 1.0  # between two answers of a device that ends each of them
SETTLED_AFTER_S: Final = 5.0  # a stream that lived this long begins its back-off anew
_LATE_NS: Final = 100_000_000
_ROUNDS: Final = 5  # of the event loop: from gRPC's queue through its callback to the session
_NS: Final = 1_000_000_000


class SensorStream:
    """Keeps one sensor's stream open until it is stopped.

    Args:
        profile: What its session must know.
        cluster: Envoy's cluster of its host.
        endpoint_version: Where its VM is; another one is another SensorStream.
        journal: Its shard.
        gateway: The way to it.
        pacer: Spaces the opens of all streams.
        places: How many of all streams are opened at once.
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
        places: asyncio.Semaphore,
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
        self._places = places
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

    def status(self) -> StreamReport:
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
            async with Opening(self._places) as opening:
                begun = time.monotonic_ns()
                self._state.opening(time.time_ns())
                attempt = StreamAttempt(self, self._opened + 1, opening.done)
                reason = await self._attempt_once(attempt)
            polled = attempt.polled
            if polled or (attempt.heard and time.monotonic_ns() - begun >= SETTLED_AFTER_S * _NS):
                self._backoff.reset()
            delay_s = POLL_S if polled else self._backoff.next_s(random.random())
            log.info(
                "stream_ended", sensor=self.profile.sensor_id, reason=reason, again_in_s=round(delay_s, 3)
            )
            await asyncio.sleep(delay_s)

    async def _attempt_once(self, attempt: StreamAttempt) -> str:
        """Open the stream and hold it to its end; return why it ended."""
        self._opened += 1
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
                return f"no frame for {attempt.silent_after_s:g} s"
            reason = self._reason(attempt, hold)
            if attempt.polled:
                self._state.answered()
            else:
                self._state.ended(reason, time.time_ns())
            return reason
        finally:
            hold.cancel()
            await asyncio.wait({hold})
            await attempt.end()
            del self._tokens[attempt.token]  # whoever shows it from here on is aborted
            self._attempt = None

    async def _watch(self, attempt: StreamAttempt, hold: asyncio.Task[str]) -> bool:
        """Wait until the stream ends (False) or is silent for too long (True).

        A worker that is late itself hears late: then nothing is said of the device. Resetting
        streams that only wait to be read would have a busy worker open them all again.
        """
        while True:
            due_ns = attempt.silent_at_ns()
            done, _ = await asyncio.wait({hold}, timeout=max(0.0, (due_ns - time.monotonic_ns()) / _NS))
            if done:
                return False
            late_ns = time.monotonic_ns() - due_ns
            for _ in range(_ROUNDS):  # what has arrived meanwhile is read before it is judged
                await asyncio.sleep(0)
            if attempt.silent_at_ns() > due_ns:
                continue
            if late_ns < _LATE_NS:
                return True
            attempt.excuse(late_ns)

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
