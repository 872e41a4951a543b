"""One opening of a stream, without Envoy: which session it gets, how long it may be silent, how it ends."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ext_proc.follower.attempt import (
    SILENT_AFTER_S,
    SILENT_WITHOUT_HEARTBEATS_S,
    RefusedError,
    StreamAttempt,
)
from ext_proc.journal.errors import ShardClosedError
from ext_proc.session.cursor import SensorCursor
from ext_proc.session.encodings import AnySession, open_session
from ext_proc.session.model import Delivery, Readings, SensorProfile, TimeBounds
from tests.session.frames import NOW
from wire.names import FRAMES_CONTENT_TYPE, SENML_CONTENT_TYPE, SENSML_CONTENT_TYPE


class Shard:
    """A journal in memory; `closed` shards refuse."""

    def __init__(self) -> None:
        self.items: list[Delivery] = []
        self.closed = False
        self.has_room = True
        self.cursors: dict[str, SensorCursor] = {}

    def cursor(self, sensor_id: str) -> SensorCursor:
        """Return the sensor's cursor."""
        return self.cursors.setdefault(sensor_id, SensorCursor())

    def committed(self, sensor_id: str) -> tuple[int, int] | None:
        """Say that all is committed."""
        return self.cursor(sensor_id).newest

    def offer(self, items: Sequence[Delivery]) -> None:
        """Keep deliveries."""
        if self.closed:
            raise ShardClosedError(0)
        self.items += items

    async def room(self) -> None:
        """Return at once."""

    async def flush(self) -> None:
        """Return at once."""


class Sensor:
    """The stream whose attempt it is."""

    def __init__(self) -> None:
        self.profile = SensorProfile("press-1", "hall-3", {"temperature": "Cel"})
        self.journal = Shard()
        self.rejected: list[tuple[int, str]] = []
        self.readings: list[int] = []

    def bounds(self) -> TimeBounds:
        """Accept an hour."""
        return TimeBounds(NOW - 3600 * 10**9, NOW + 10**10, NOW)

    def open_session(self, content_type: str) -> AnySession | None:
        """Open one in epoch 9."""
        return open_session(content_type, self.profile, SensorCursor(), lambda: 9)

    def reject(self, number: int, session: AnySession) -> None:
        """Note the stream and the reasons."""
        self.rejected += [(number, rejection.reason) for rejection in session.rejections.take()]

    def note_frames(self, readings: int) -> None:
        """Note how many readings came."""
        self.readings.append(readings)


@pytest.mark.parametrize(
    ("content_type", "seconds"),
    [
        (FRAMES_CONTENT_TYPE, SILENT_AFTER_S),
        (SENSML_CONTENT_TYPE, SILENT_WITHOUT_HEARTBEATS_S),
        (SENML_CONTENT_TYPE, SILENT_WITHOUT_HEARTBEATS_S),
    ],
)
async def test_devices_without_heartbeats_may_be_silent_for_longer(content_type: str, seconds: float) -> None:
    """Five seconds until the head has come, then what the encoding can promise."""
    attempt = StreamAttempt(Sensor(), 1)
    assert attempt.silent_after_s == SILENT_AFTER_S
    attempt.on_headers(200, content_type)
    assert attempt.silent_after_s == seconds


async def test_bodies_that_nothing_reads_are_refused() -> None:
    """Another content type, another status, a body before its head."""
    for status, content_type, words in ((200, "text/html", "text/html"), (503, SENML_CONTENT_TYPE, "503")):
        attempt = StreamAttempt(Sensor(), 1)
        with pytest.raises(RefusedError, match=words):
            attempt.on_headers(status, content_type)
    with pytest.raises(RefusedError, match="before its head"):
        await StreamAttempt(Sensor(), 1).on_body(b"[]")


async def test_an_answer_that_is_whole_is_polled() -> None:
    """In order and with all packs closed; a cut one is not, and what was cut off is said."""
    for body, complete, polled, rejected in (
        (b'[{"n":"temperature","u":"Cel","v":1}]', True, True, []),
        (b'[{"n":"temperature","u":"Cel","v":1}]', False, False, []),
        (b'[{"n":"temperature","u":"Cel","v":1},{', True, False, [(4, "the stream ended within a record")]),
    ):
        sensor = Sensor()
        attempt = StreamAttempt(sensor, 4)
        attempt.on_headers(200, SENML_CONTENT_TYPE)
        await attempt.on_body(body)
        attempt.on_end(complete=complete)
        assert (attempt.polled, sensor.rejected, sensor.readings) == (polled, rejected, [1])
        assert isinstance(sensor.journal.items[0], Readings)


async def test_an_end_after_the_shard_is_closed_is_only_an_end() -> None:
    """Whoever waits for the end is released though nothing can be delivered any more."""
    sensor = Sensor()
    attempt = StreamAttempt(sensor, 1)
    assert attempt.claim()
    attempt.on_headers(200, SENSML_CONTENT_TYPE)
    await attempt.on_body(b'[{"n":')
    sensor.journal.closed = True
    attempt.on_end(complete=False)
    await attempt.end()
    assert sensor.journal.items == []
