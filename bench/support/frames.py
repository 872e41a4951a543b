"""Frames of many sensors at once, made by filling in a template. Pure.

What differs between two frames of the same shape stands at fixed places: epoch,
first sequence number, event times, values. So frames are rows of one array, and
a frame costs its sender little beside the system call. The number is a varint
of five bytes whatever its value, which every reader of protobuf takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from wire.frames import delimit
from wire.gen.gaugeway.readings.v1 import readings_pb2

Ints = npt.NDArray[np.int64]

_SEQ_BYTES: Final = 5
_MARK: Final = 0x0123456789ABCDEF  # of what is filled in
_SEQ_MARK: Final = (1 << 28) + 0x5A5A5A  # needs _SEQ_BYTES
_VALUES: Final = 97  # different runs of values


class FrameTemplate:
    """Frames of `per_frame` readings, the series in turn, each as a chunk of an HTTP/1.1 body.

    Args:
        series: (metric, unit) of each series of a sensor.
        per_frame: Readings in a frame.
    """

    def __init__(self, series: Sequence[tuple[str, str]], per_frame: int) -> None:
        batch = readings_pb2.ReadingBatch(
            epoch=_MARK,
            first_seq=_SEQ_MARK,
            count=per_frame,
            series=[readings_pb2.Series(metric=metric, unit=unit) for metric, unit in series],
            series_index=[place % len(series) for place in range(per_frame)],
            time_unix_ns=[_MARK - place for place in range(per_frame)],
            value=[_MARK + place for place in range(per_frame)],
        )
        whole = chunk(delimit(readings_pb2.Frame(readings=batch).SerializeToString()))
        time = np.array(batch.time_unix_ns, "<i8").tobytes()
        value = np.array(batch.value, "<f8").tobytes()
        epoch = _MARK.to_bytes(8, "little")
        seq = _varints(np.array([_SEQ_MARK])).tobytes()
        places = [whole.index(each) for each in (epoch, seq, time, value)]
        self._row = np.dtype(
            {
                "names": ["epoch", "seq", "time", "value"],
                "formats": ["<u8", ("u1", _SEQ_BYTES), ("<i8", per_frame), ("<f8", per_frame)],
                "offsets": places,
                "itemsize": len(whole),
            }
        )
        self._whole = np.frombuffer(whole, np.uint8)
        self._steps = np.arange(1, per_frame + 1)
        random = np.random.default_rng(1)
        level = 20.0 + 5.0 * (np.arange(per_frame) % len(series))
        self._values = level + random.normal(0.0, 0.5, (_VALUES, per_frame))
        self.per_frame = per_frame
        self.size = len(whole)

    def fill(self, epoch: Ints, first_seq: Ints, last_ns: Ints, now_ns: int, run: int) -> bytes:
        """Return a frame of `size` bytes for each sensor, one after the other.

        Args:
            epoch: Of each sensor.
            first_seq: Of each frame.
            last_ns: Event time of the reading before it; the frame's are evenly after it, up to `now_ns`.
            now_ns: Unix ns.
            run: Which values the first frame has.
        """
        filled = np.tile(self._whole, (len(epoch), 1))
        rows = filled.view(self._row)[:, 0]
        rows["epoch"] = epoch
        rows["seq"] = _varints(first_seq)
        rows["time"] = last_ns[:, None] + (now_ns - last_ns)[:, None] * self._steps // self.per_frame
        rows["value"] = self._values[(run + np.arange(len(epoch))) % _VALUES]
        return filled.tobytes()


def heartbeat(epoch: int, head_seq: int, now_ns: int) -> bytes:
    """Return a heartbeat as a chunk."""
    beat = readings_pb2.Heartbeat(epoch=epoch, head_seq=head_seq, time_unix_ns=now_ns)
    return chunk(delimit(readings_pb2.Frame(heartbeat=beat).SerializeToString()))


def chunk(data: bytes) -> bytes:
    """Return a chunk of a body (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _varints(numbers: Ints) -> npt.NDArray[np.uint8]:
    """Return each number as a varint of _SEQ_BYTES bytes."""
    shifts = np.arange(_SEQ_BYTES) * 7
    groups = (numbers[:, None] >> shifts) & 0x7F
    groups[:, :-1] |= 0x80
    return groups.astype(np.uint8)
