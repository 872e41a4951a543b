"""A session of frames: the state of one stream, from its first byte to its last.

Bytes in, deliveries out. A session never awaits and reads no clock; what it
accepted it has put into the sensor's cursor, which outlives it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ext_proc.session.cursor import SensorCursor
from ext_proc.session.decode import Columns, UndecodableError, check_series, parse_frame
from ext_proc.session.judging import note_undecodable, quarantined
from ext_proc.session.model import (
    Delivery,
    Duplicates,
    Hole,
    Readings,
    SensorProfile,
    Series,
    TimeBounds,
    Undecodable,
)
from ext_proc.session.rejections import Rejections
from ext_proc.session.verdicts import reading_verdicts, series_verdicts
from wire.frames import HEAD_BYTES, FrameSplitter, FramingError
from wire.gen.gaugeway.readings.v1 import readings_pb2

_GAP_REASONS: Final = {readings_pb2.Gap.EVICTED: "evicted", readings_pb2.Gap.CORRUPT: "corrupt"}


class Session:
    """Cuts a body into frames, judges them, and trims what the cursor already covers.

    Attributes:
        frames: Frames that were read, heartbeats included.
        epoch: The epoch of the newest frame; 0 before the first.
        lost: Why nothing more can be read of this stream; None while it can.
        rejections: What could not be used, for the caller to take.
        has_heartbeats: The device says something when it has nothing to say.
        is_polled: The device answers with what it has, and ends the stream in order.
    """

    __slots__ = (
        "_any_bad_series",
        "_by_series",
        "_cursor",
        "_profile",
        "_series",
        "_splitter",
        "epoch",
        "frames",
        "lost",
        "rejections",
    )

    has_heartbeats: Final = True
    is_polled: Final = False

    def __init__(self, profile: SensorProfile, cursor: SensorCursor) -> None:
        self._profile = profile
        self._cursor = cursor
        self._splitter = FrameSplitter()
        self._series: Series | None = None
        self._by_series: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._any_bad_series = False
        self.frames = 0
        self.epoch = 0
        self.lost: str | None = None
        self.rejections = Rejections()

    def change_profile(self, profile: SensorProfile) -> None:
        """Judge by `profile` from the next frame on."""
        self._profile = profile
        self._series = None

    def feed(self, data: bytes, bounds: TimeBounds) -> list[Delivery]:
        """Take the next piece of the body; return what it completed, in order.

        After the boundaries of frames are lost, `lost` is set and the rest of
        the stream is ignored: the caller must end it.
        """
        if self.lost is not None:
            return []
        deliveries: list[Delivery] = []
        loss = None
        try:
            frames = self._splitter.feed(data)
        except FramingError as error:
            frames, loss = error.frames, error
        for frame, offset in zip(frames, self._splitter.starts, strict=True):
            self._take(frame, offset, bounds, deliveries)
        if loss is not None:
            self.lost = str(loss)
            lost = Undecodable(
                self._profile.sensor_id, self.epoch, 1, loss.dropped, "framing lost", loss.offset, loss.head
            )
            note_undecodable(deliveries, self.rejections, lost)
        return deliveries

    def finish(self, *, complete: bool) -> list[Delivery]:
        """Return what is left to say when the stream is over.

        `complete` says that it ended in order. One that was cut says nothing:
        the next one begins at the cursor.
        """
        splitter = self._splitter
        if not complete or not splitter.pending or self.lost is not None:
            return []
        cut = Undecodable(
            self._profile.sensor_id,
            self.epoch,
            1,
            splitter.pending,
            "the stream ended within a frame",
            splitter.offset,
            splitter.head,
        )
        deliveries: list[Delivery] = []
        note_undecodable(deliveries, self.rejections, cut)
        return deliveries

    def _take(self, frame: bytes, offset: int, bounds: TimeBounds, deliveries: list[Delivery]) -> None:
        try:
            content = parse_frame(frame)
            if isinstance(content, Columns):
                bad = self._take_readings(content, bounds, deliveries)
                if bad is not None:
                    for reason, count, _ in quarantined(bad):
                        self.rejections.add(reason, count, content.epoch, offset, frame[:HEAD_BYTES])
            elif isinstance(content, readings_pb2.Gap):
                self._take_gap(content, deliveries)
            elif content.epoch:
                self.epoch = content.epoch
        except UndecodableError as error:
            head, sensor_id = frame[:HEAD_BYTES], self._profile.sensor_id
            item = Undecodable(sensor_id, error.epoch, 1, len(frame), error.reason, offset, head)
            note_undecodable(deliveries, self.rejections, item)
        else:
            self.frames += 1

    def _take_readings(
        self, columns: Columns, bounds: TimeBounds, deliveries: list[Delivery]
    ) -> NDArray[np.uint8] | None:
        """Move the cursor and deliver what is new; return the verdicts if they are not all OK."""
        if columns.series != self._series:
            check_series(columns.series, columns.epoch)
            self._by_series = series_verdicts(columns.series, self._profile.units)
            self._any_bad_series = bool(self._by_series.any())
            self._series = columns.series
        sensor_id, epoch = self._profile.sensor_id, columns.epoch
        self.epoch = epoch
        step = self._cursor.accept(epoch, columns.first_seq, columns.first_seq + columns.count - 1)
        if step.skipped is not None:
            deliveries.append(Hole(sensor_id, epoch, *step.skipped, reason="skipped"))
        if step.duplicates:
            deliveries.append(Duplicates(sensor_id, epoch, step.duplicates))
        if step.duplicates == columns.count:
            return None
        by_series = self._by_series[columns.series_index]
        verdict = reading_verdicts(columns.value, columns.time_unix_ns, by_series, bounds)
        readings = Readings(
            sensor_id,
            self._profile.site,
            epoch,
            columns.first_seq,
            columns.series,
            columns.series_index,
            columns.time_unix_ns,
            columns.value,
            columns.quality,
            verdict,
        )
        deliveries.append(readings.part(step.duplicates, len(readings)) if step.duplicates else readings)
        if verdict is by_series and not self._any_bad_series:
            return None
        return verdict[step.duplicates :]

    def _take_gap(self, gap: readings_pb2.Gap, deliveries: list[Delivery]) -> None:
        self.epoch = gap.epoch
        step = self._cursor.accept(gap.epoch, gap.first_seq, gap.last_seq)
        sensor_id = self._profile.sensor_id
        if step.skipped is not None:
            deliveries.append(Hole(sensor_id, gap.epoch, *step.skipped, reason="skipped"))
        first_seq = gap.first_seq + step.duplicates  # numbers taken before are no hole
        if first_seq <= gap.last_seq:
            reason = _GAP_REASONS.get(gap.reason, "unspecified")
            deliveries.append(Hole(sensor_id, gap.epoch, first_seq, gap.last_seq, reason))
