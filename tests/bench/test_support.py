"""What the benchmarks of the data path send, and how they find what is lost or there twice."""

from __future__ import annotations

import numpy as np

from bench.support.frames import FrameTemplate
from bench.support.journal import Rows, account, journal_ms
from ext_proc.session.decode import Columns, parse_frame
from wire.frames import FrameSplitter

SERIES = (("cpu_load", "%"), ("memory_used", "%"))


def test_frames_are_filled_in() -> None:
    """Each sensor's frame has its epoch, its numbers, and times that end at its flush."""
    template = FrameTemplate(SERIES, per_frame=4)
    epochs, first_seq = np.array([7, 9]), np.array([1, 2**33])
    whole = template.fill(epochs, first_seq, np.array([1000, 1600]), 2000, run=0)
    for place, last_ns in enumerate((1000, 1600)):
        chunk = whole[place * template.size : (place + 1) * template.size]
        length, body = chunk.split(b"\r\n", 1)
        assert len(body) == int(length, 16) + 2
        (frame,) = FrameSplitter().feed(body[:-2])
        columns = parse_frame(frame)
        assert isinstance(columns, Columns)
        assert (columns.epoch, columns.first_seq, columns.count) == (epochs[place], first_seq[place], 4)
        assert columns.series == SERIES
        step = (2000 - last_ns) // 4
        assert columns.time_unix_ns.tolist() == [last_ns + step * turn for turn in (1, 2, 3, 4)]


def _rows(*rows: tuple[int, int, int]) -> Rows:
    sensor, epoch, seq = (np.array(column) for column in zip(*rows, strict=True))
    return Rows(sensor, epoch, seq, time=seq * 1_000_000, arrived_ns=np.full(len(rows), 50_000_000))


def test_what_is_lost_twice_or_unknown() -> None:
    """Of two sensors that sent two readings each."""
    epoch, sent = np.array([5, 6]), np.array([2, 2])
    good = [(0, 5, 1), (0, 5, 2), (1, 6, 1), (1, 6, 2)]
    assert account(_rows(*good), epoch, sent) == account(_rows(*reversed(good)), epoch, sent)
    found = account(_rows(*good), epoch, sent)
    assert (found.lost, found.duplicate, found.unknown) == (0, 0, 0)
    found = account(_rows(good[0], good[0], good[0], good[2], (1, 6, 3), (1, 9, 2)), epoch, sent)
    assert (found.lost, found.duplicate, found.unknown) == (2, 2, 2)


def test_latency_counts_from_the_flush() -> None:
    """The last reading of a frame says when it was flushed; records outside the span do not count."""
    rows = _rows((0, 5, 1), (0, 5, 2), (0, 5, 3), (0, 5, 4))
    assert journal_ms(rows, 2, (0, 60_000_000)).tolist() == [48.0, 46.0]
    assert not len(journal_ms(rows, 2, (0, 50_000_000)))
