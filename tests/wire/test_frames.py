"""Splitting a body that may be cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.frames import MAX_FRAME_BYTES, FrameSplitter, FramingError, delimit
from wire.gen.gaugeway.readings.v1 import frame_view_pb2, readings_pb2

FRAMES = st.lists(st.binary(max_size=400), max_size=12)


@given(frames=FRAMES, data=st.data())
def test_frames_survive_any_cut(frames: list[bytes], data: st.DataObject) -> None:
    """However a body is cut, the same frames come out in order and nothing is left over."""
    body = b"".join(delimit(frame) for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    splitter = FrameSplitter()
    got: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        got += splitter.feed(body[start:end])
    assert got == frames
    assert splitter.pending == 0


@given(frames=st.lists(st.binary(max_size=300), min_size=1, max_size=4))
def test_a_frame_comes_with_its_last_byte(frames: list[bytes]) -> None:
    """Byte by byte, each frame is there as soon as it is whole, and it is said where it began."""
    splitter, position = FrameSplitter(), 0
    for frame in frames:
        data = delimit(frame)
        for nth in range(len(data) - 1):
            assert splitter.feed(data[nth : nth + 1]) == []
            assert splitter.offset == position
        assert splitter.feed(data[-1:]) == [frame]
        assert splitter.starts == [position]
        position += len(data)


def test_a_cut_frame_is_pending() -> None:
    """What has not arrived whole is counted, not returned."""
    splitter = FrameSplitter()
    assert splitter.feed(delimit(b"whole") + b"\x05par") == [b"whole"]
    assert splitter.pending == 4


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff\xff\x01", b"\x81\x80\x80\x02"])
def test_lost_framing_keeps_what_came_before(garbage: bytes) -> None:
    """A length above the limit ends the body; whole frames before it are not lost."""
    splitter = FrameSplitter()
    with pytest.raises(FramingError, match=str(MAX_FRAME_BYTES)) as caught:
        splitter.feed(delimit(b"one") + garbage)
    assert caught.value.frames == [b"one"]
    assert caught.value.dropped == len(garbage)
    assert splitter.pending == 0


def test_the_view_reads_what_the_public_schema_writes() -> None:
    """Packed columns read as little-endian bytes, without a copy of each value."""
    batch = readings_pb2.ReadingBatch(
        epoch=7,
        first_seq=3,
        count=2,
        series=[readings_pb2.Series(metric="temperature", unit="Cel")],
        series_index=[0, 0],
        time_unix_ns=[1, -2],
        value=[1.5, -2.5],
        quality=b"\x00\x02",
    )
    view = frame_view_pb2.FrameView.FromString(
        readings_pb2.Frame(readings=batch).SerializeToString()
    ).readings
    assert (view.epoch, view.first_seq, view.count, view.quality) == (7, 3, 2, b"\x00\x02")
    assert view.series_index == bytes(8)
    assert view.time_unix_ns == (1).to_bytes(8, "little") + (-2).to_bytes(8, "little", signed=True)
    assert view.value.hex() == "000000000000f83f" + "00000000000004c0"
