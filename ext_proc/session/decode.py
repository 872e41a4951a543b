"""Frames into columns: protobuf's packed runs become numpy arrays without a copy.

A frame is taken whole or not at all: whatever is inconsistent in it raises
UndecodableError, whose text is one of a few fixed sentences (it is journalled).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, TypeVar

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from ext_proc.session.model import Series
from wire.gen.gaugeway.readings.v1 import frame_view_pb2, readings_pb2
from wire.ids import InvalidIdError, check_metric, check_unit

MAX_SERIES: Final = 4096
_KEPT_TABLES: Final = 1024
_MAX_KEPT_SERIES: Final = 64
_MAX_KEPT_BYTES: Final = 8192
MAX_SEQ: Final = 2**63 - 1  # what a cursor can say and a signed column can hold

_Scalar = TypeVar("_Scalar", bound=np.generic)
_INDEX: Final[np.dtype[np.uint32]] = np.dtype("<u4")
_TIME: Final[np.dtype[np.int64]] = np.dtype("<i8")
_VALUE: Final[np.dtype[np.float64]] = np.dtype("<f8")
_QUALITY: Final[np.dtype[np.uint8]] = np.dtype("u1")


class UndecodableError(ValueError):
    """A frame cannot be read. `epoch` is 0 if the frame does not say it."""

    def __init__(self, reason: str, epoch: int = 0) -> None:
        self.reason = reason
        self.epoch = epoch
        super().__init__(reason)


class Columns:
    """A readings frame after all checks: every column holds `count` values."""

    __slots__ = ("count", "epoch", "first_seq", "quality", "series", "series_index", "time_unix_ns", "value")

    def __init__(self, view: frame_view_pb2.ReadingBatchView) -> None:
        self.epoch: int = view.epoch
        self.first_seq: int = view.first_seq
        self.count: int = view.count
        _check_range(self.epoch, self.first_seq, self.first_seq + self.count - 1)
        count = self.count
        self.series_index: NDArray[np.uint32] = self._index(view.series_index, len(view.series))
        self.time_unix_ns: NDArray[np.int64] = self._column(view.time_unix_ns, _TIME)
        self.value: NDArray[np.float64] = self._column(view.value, _VALUE)
        quality = view.quality or bytes(count)
        self.quality: NDArray[np.uint8] = self._column(quality, _QUALITY)
        self.series: Series = self._series(view)

    def _column(self, data: bytes, dtype: np.dtype[_Scalar]) -> NDArray[_Scalar]:
        self._check_length(data, dtype.itemsize)
        return np.frombuffer(data, dtype)

    def _index(self, data: bytes, size: int) -> NDArray[np.uint32]:
        self._check_length(data, _INDEX.itemsize)
        index = _kept_index(data, size) if len(data) <= _MAX_KEPT_BYTES else _parse_index(data, size)
        if index is None:
            raise UndecodableError("series_index points beyond the series", self.epoch)
        return index

    def _check_length(self, data: bytes, itemsize: int) -> None:
        if len(data) != self.count * itemsize:
            raise UndecodableError("a column does not hold `count` values", self.epoch)

    def _series(self, view: frame_view_pb2.ReadingBatchView) -> Series:
        size = len(view.series)
        if size > MAX_SERIES:
            raise UndecodableError(f"more than {MAX_SERIES} series", self.epoch)
        encoded = tuple(view.series)
        if size <= _MAX_KEPT_SERIES and sum(map(len, encoded)) <= _MAX_KEPT_BYTES:
            return _kept_series(encoded)
        return _parse_series(encoded)


def _parse_series(encoded: tuple[bytes, ...]) -> Series:
    """Return the table of a frame. Raises UndecodableError."""
    try:
        entries = [readings_pb2.Series.FromString(entry) for entry in encoded]
    except DecodeError as error:
        raise UndecodableError("not a protobuf frame") from error
    return tuple((entry.metric, entry.unit) for entry in entries)


def _parse_index(data: bytes, size: int) -> NDArray[np.uint32] | None:
    """Return a column that points into a table of `size`; None if it points beyond it."""
    index = np.frombuffer(data, _INDEX)
    return index if np.maximum.reduce(index) < size else None


# Nearly every frame of a fleet repeats one of a few tables and orders, and gets the same object for it.
_kept_series = lru_cache(_KEPT_TABLES)(_parse_series)
_kept_index = lru_cache(_KEPT_TABLES)(_parse_index)


def parse_frame(frame: bytes) -> Columns | readings_pb2.Gap | readings_pb2.Heartbeat:
    """Return what a frame holds. Raises UndecodableError."""
    view = frame_view_pb2.FrameView()
    try:
        view.ParseFromString(frame)
    except DecodeError as error:
        raise UndecodableError("not a protobuf frame") from error
    kind = view.WhichOneof("kind")
    if kind == "readings":
        return Columns(view.readings)
    if kind == "gap":
        _check_range(view.gap.epoch, view.gap.first_seq, view.gap.last_seq)
        return view.gap
    if kind == "heartbeat":
        return view.heartbeat
    raise UndecodableError("neither readings, gap nor heartbeat")


def check_series(series: Series, epoch: int) -> None:
    """Raise UndecodableError if a metric or unit breaks its rule: such words must not reach the journal."""
    try:
        for metric, unit in series:
            check_metric(metric)
            check_unit(unit)
    except InvalidIdError as error:
        raise UndecodableError(f"a {error.field} breaks its rule", epoch) from error


def _check_range(epoch: int, first_seq: int, last_seq: int) -> None:
    if epoch == 0:
        raise UndecodableError("epoch is 0")
    if first_seq < 1 or last_seq < first_seq or last_seq > MAX_SEQ:
        raise UndecodableError("sequence numbers are not 1 <= first <= last < 2^63", epoch)
