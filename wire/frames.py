"""Length-delimited frames: joining and splitting a body.

A body is a run of frames, each a base-128 varint length followed by that many
bytes (protobuf's own "delimited" form). A body may arrive cut anywhere.
"""

from __future__ import annotations

from typing import Final

MAX_FRAME_BYTES: Final = 4 * 1024 * 1024
_MAX_PREFIX_BYTES: Final = 4  # a varint of MAX_FRAME_BYTES


class FramingError(ValueError):
    """The boundaries of frames are lost: nothing after this point of the body can be read.

    `frames` came whole before that point; `dropped` is the number of bytes after it.
    """

    def __init__(self, frames: list[bytes], dropped: int) -> None:
        self.frames = frames
        self.dropped = dropped
        super().__init__(f"a frame length above {MAX_FRAME_BYTES} bytes; {dropped} bytes dropped")


def delimit(frame: bytes) -> bytes:
    """Return `frame` behind its varint length."""
    length = len(frame)
    prefix = bytearray()
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + frame


class FrameSplitter:
    """Cuts a body, fed in arbitrary pieces, into frames."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    @property
    def pending(self) -> int:
        """Bytes of a frame that has not arrived whole."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames completed by `data`.

        Raises FramingError on a length that is no varint of at most
        MAX_FRAME_BYTES; frames before it in `data` are in its `frames`.
        """
        buffer = self._buffer + data if self._buffer else data
        frames: list[bytes] = []
        position = 0
        end = len(buffer)
        while position < end:
            header = _read_length(buffer, position, end)
            if header is None:
                break
            length, start = header
            if length < 0 or length > MAX_FRAME_BYTES:
                self._buffer = b""
                raise FramingError(frames, end - position)
            if start + length > end:
                break
            frames.append(buffer[start : start + length])
            position = start + length
        self._buffer = buffer[position:]
        return frames


def _read_length(buffer: bytes, position: int, end: int) -> tuple[int, int] | None:
    """Return (length, start of the frame), None if cut, or a length of -1 if it is no length."""
    length = 0
    for offset in range(_MAX_PREFIX_BYTES):
        if position + offset >= end:
            return None
        byte = buffer[position + offset]
        length |= (byte & 0x7F) << (7 * offset)
        if byte < 0x80:
            return length, position + offset + 1
    return -1, position
