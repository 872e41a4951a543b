"""A session of SenML records: the state of one stream of a device that numbers nothing.

The stream is an epoch of its own, given by the caller, and its readings are
numbered from 1 as they come. Nothing tells whether the device measured between
two streams, so the first readings of a stream that follows another one come
after an Interruption. See docs/adr for what that means for exactness.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ext_proc.session.cursor import SensorCursor
from ext_proc.session.judging import note_undecodable, quarantined
from ext_proc.session.model import (
    Delivery,
    Interruption,
    NotNumeric,
    Readings,
    SensorProfile,
    TimeBounds,
    Undecodable,
)
from ext_proc.session.quantities import QuantityTable
from ext_proc.session.rejections import Rejections
from ext_proc.session.verdicts import reading_verdicts
from wire.senml import Resolved, Resolver
from wire.senml_stream import Place, RecordReader, Records

_PENDING: Final = "the stream ended within a record"
_UNCLOSED: Final = "the stream ended within a pack"


class SenmlSession:
    """Reads the records of a body, resolves and judges them; the same interface as Session.

    Args:
        profile: What it must know of its sensor.
        cursor: Of the sensor.
        epoch: This stream's own; another one for every stream.
        streaming: The body never ends (application/sensml+json).
    """

    __slots__ = (
        "_cursor",
        "_profile",
        "_quantities",
        "_reader",
        "_resolver",
        "_seq",
        "_streaming",
        "epoch",
        "frames",
        "lost",
        "rejections",
    )

    has_heartbeats: Final = False

    def __init__(self, profile: SensorProfile, cursor: SensorCursor, epoch: int, *, streaming: bool) -> None:
        self._profile = profile
        self._cursor = cursor
        self._streaming = streaming
        self._reader = RecordReader()
        self._resolver = Resolver()
        self._quantities = QuantityTable(profile.units)
        self._seq = 0
        self.epoch = epoch
        self.frames = 0
        self.lost: str | None = None
        self.rejections = Rejections()

    @property
    def is_polled(self) -> bool:
        """Say whether the device has answered with whole packs, and nothing is open."""
        return not self._streaming and self._reader.packs > 0 and self._reader.between_packs

    def change_profile(self, profile: SensorProfile) -> None:
        """Judge by `profile` from the next record on."""
        self._profile = profile
        self._quantities = QuantityTable(profile.units)

    def feed(self, data: bytes, bounds: TimeBounds) -> list[Delivery]:
        """Take the next piece of the body; return what it completed, in order. As Session.feed.

        White space between records counts as a sign of life.
        """
        deliveries: list[Delivery] = []
        if self.lost is not None:
            return deliveries
        for item in self._reader.feed(data):
            if isinstance(item, Records):
                self._take(self._resolver.resolve(item, bounds.now_unix_ns), bounds, deliveries)
                self.frames += len(item.records)
            else:
                self._resolver.skip(item)
                self._note(deliveries, item.reason, item.place)
        loss = self._reader.lost
        if loss is not None:
            self.lost = loss.reason
            self._note(deliveries, loss.reason, loss.place)
        elif data and not self._reader.pending:
            self.frames += 1
        return deliveries

    def finish(self, *, complete: bool) -> list[Delivery]:
        """Return what is left to say when the stream is over; what was cut will not come again."""
        deliveries: list[Delivery] = []
        reader = self._reader
        if self.lost is not None:
            return deliveries
        if reader.pending:
            self._note(deliveries, _PENDING, reader.pending_place)
        elif complete and not self._streaming and not reader.between_packs:
            self._note(deliveries, _UNCLOSED, reader.pending_place)
        return deliveries

    def _note(self, deliveries: list[Delivery], reason: str, place: Place) -> None:
        item = Undecodable(
            self._profile.sensor_id, self.epoch, 1, place.size, reason, place.offset, place.head
        )
        note_undecodable(deliveries, self.rejections, item)

    def _take(self, resolved: Resolved, bounds: TimeBounds, deliveries: list[Delivery]) -> None:
        for reason, found in resolved.not_numeric.items():
            deliveries.append(NotNumeric(self._profile.sensor_id, self.epoch, len(found), reason))
            place = resolved.records.places()[found[0]]
            self.rejections.add(reason, len(found), self.epoch, place.offset, place.head)
        for index, reason in resolved.refused:
            self._note(deliveries, reason, resolved.records.places()[index])
        if not len(resolved.quantity):
            return
        table = self._quantities
        table.extend(self._resolver.quantities)
        series_index = table.series_of[resolved.quantity]
        value = table.scaled(resolved.value, resolved.quantity)
        time_unix_ns = resolved.time_unix_ns
        places = resolved.places
        if table.any_refused and (series_index < 0).any():
            for row in (series_index < 0).nonzero()[0].tolist():
                reason = table.refusals[int(resolved.quantity[row])]
                self._note(deliveries, reason, resolved.records.places()[places[row]])
            kept = (series_index >= 0).nonzero()[0]
            series_index, value, time_unix_ns = series_index[kept], value[kept], time_unix_ns[kept]
            places = [places[row] for row in kept.tolist()]
            if not places:
                return
        self._deliver(series_index, time_unix_ns, value, bounds, deliveries)
        self._count_quarantined(deliveries, places, resolved.records)

    def _deliver(
        self,
        series_index: NDArray[np.int64],
        time_unix_ns: NDArray[np.int64],
        value: NDArray[np.float64],
        bounds: TimeBounds,
        deliveries: list[Delivery],
    ) -> None:
        """Number readings and deliver them."""
        newest = self._cursor.newest
        if self._seq == 0 and newest is not None and newest[0] != self.epoch:
            deliveries.append(Interruption(self._profile.sensor_id, self.epoch))
        first_seq = self._seq + 1
        self._seq += len(value)
        self._cursor.accept(self.epoch, first_seq, self._seq)
        table = self._quantities
        series, index = table.used(series_index)
        deliveries.append(
            Readings(
                self._profile.sensor_id,
                self._profile.site,
                self.epoch,
                first_seq,
                series,
                index,
                time_unix_ns,
                value,
                np.zeros(len(value), np.uint8),
                reading_verdicts(value, time_unix_ns, table.verdicts[series_index], bounds),
            )
        )

    def _count_quarantined(self, deliveries: list[Delivery], places: list[int], records: Records) -> None:
        readings = deliveries[-1]
        assert isinstance(readings, Readings)
        if np.bitwise_or.reduce(readings.verdict):
            for reason, count, first in quarantined(readings.verdict):
                place = records.places()[places[first]]
                self.rejections.add(reason, count, self.epoch, place.offset, place.head)
