"""One opening of a sensor's stream: what ext_proc's server shows it, and what becomes of that."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from ext_proc.journal.errors import ShardClosedError
from ext_proc.session.cursor import SensorCursor
from ext_proc.session.encodings import CONTENT_TYPES, AnySession
from ext_proc.session.model import Delivery, Readings, SensorProfile, TimeBounds

log = structlog.get_logger(__name__)

SILENT_AFTER_S: Final = 5.0
SILENT_WITHOUT_HEARTBEATS_S: Final = 120.0  # a device that has none must say something more often than this
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

    @property
    def has_room(self) -> bool:
        """Whether more may be offered."""
        ...

    async def room(self) -> None:
        """Wait until more may be offered."""
        ...

    async def flush(self) -> None:
        """Wait until all that was offered is in the journal."""
        ...


class Owner(Protocol):
    """Whose attempt it is (ext_proc.follower.stream.SensorStream)."""

    @property
    def profile(self) -> SensorProfile:
        """What a session must know of the sensor."""
        ...

    @property
    def journal(self) -> Journal:
        """Where deliveries go."""
        ...

    def bounds(self) -> TimeBounds:
        """Return the time, and the event times that are accepted."""
        ...

    def open_session(self, content_type: str) -> AnySession | None:
        """Return what reads a body of `content_type`; None if nothing does."""
        ...

    def reject(self, number: int, session: AnySession) -> None:
        """Count what the stream `number` could not use."""
        ...

    def note_frames(self, readings: int) -> None:
        """Frames arrived, with `readings` new readings in them."""
        ...


class RefusedError(Exception):
    """A stream must be ended: its response is not a stream of frames, or it cannot be read on."""


class StreamAttempt:
    """One opening of a sensor's stream, from its token to the end of its session.

    ext_proc's server calls `on_headers`, `on_body` and `on_end`; `on_claim` is told that it has the stream.
    """

    def __init__(self, stream: Owner, number: int, on_claim: Callable[[], None] | None = None) -> None:
        self._stream = stream
        self._number = number
        self._on_claim = on_claim
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
    def heard(self) -> bool:
        """Whether a frame came."""
        return self._session is not None and self._session.frames > 0

    @property
    def sensor_id(self) -> str:
        """The sensor that this token was issued for."""
        return self._stream.profile.sensor_id

    def claim(self) -> bool:
        """Bind the ext_proc stream that shows this token; only the first one gets it."""
        if self._claimed:
            return False
        self._claimed = True
        if self._on_claim is not None:
            self._on_claim()
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
        if stream.journal.has_room:
            return
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

    def excuse(self, late_ns: int) -> None:
        """Give the device more time: the worker was late itself."""
        self._active_ns += late_ns

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
