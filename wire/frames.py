"""Length-delimited frames: joining and splitting a body.

A body is a run of frames, each a base-128 varint length followed by that many
bytes (protobuf's own "delimited" form). A body may arrive cut anywhere.
"""

from __future__ import annotations

from typing import Final

MAX_FRAME_BYTES: Final = 4 * 1024 * 1024
HEAD_BYTES: Final = 32  # of what could not be read, to recognise it by
_MAX_PREFIX_BYTES: Final = 4  # a varint of MAX_FRAME_BYTES


class FramingError(ValueError):
    """The boundaries of frames are lost: nothing after this point of the body can be read.

    `frames` came whole before that point; `dropped` is the number of bytes
    after it, `offset` where it is in the body, `head` the first bytes there.
    """

    def __init__(self, frames: list[bytes], rest: bytes, offset: int) -> None:
        self.frames = frames
        self.dropped = len(rest)
        self.offset = offset
        self.head = rest[:HEAD_BYTES]
        super().__init__(f"a frame length above {MAX_FRAME_BYTES} bytes; {self.dropped} bytes dropped")


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
    """Cuts a body, fed in arbitrary pieces, into frames.

    What it keeps is one frame that has not arrived whole. It is looked at again
    only when it can be longer than it was: many small pieces cost no more than
    one large one.

    Attributes:
        starts: Where each frame that `feed` returned last (or that its error has) begins in the body.
        offset: Where in the body the frame begins that has not arrived whole.
    """

    __slots__ = ("_buffer", "_needed", "offset", "starts")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needed = 0  # bytes that the buffer must hold before anything can be told of it
        self.offset = 0
        self.starts: list[int] = []

    @property
    def pending(self) -> int:
        """Bytes of a frame that has not arrived whole."""
        return len(self._buffer)

    @property
    def head(self) -> bytes:
        """The first of these bytes."""
        return bytes(self._buffer[:HEAD_BYTES])

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames completed by `data`.

        Raises FramingError on a length that is no varint of at most
        MAX_FRAME_BYTES; frames before it in `data` are in its `frames`.
        """
        self.starts = []
        if not self._buffer:
            return self._split(data)
        self._buffer += data
        if len(self._buffer) < self._needed:
            return []
        buffer = bytes(self._buffer)
        self._buffer.clear()
        return self._split(buffer)

    def _split(self, buffer: bytes) -> list[bytes]:
        frames: list[bytes] = []
        starts = self.starts
        position = 0
        end = len(buffer)
        while position < end:
            header = _read_length(buffer, position, end)
            if header is None:
                self._needed = end - position + 1
                break
            length, start = header
            if length < 0 or length > MAX_FRAME_BYTES:
                raise FramingError(frames, buffer[position:], self.offset + position)
            if start + length > end:
                self._needed = start + length - position
                break
            frames.append(buffer[start : start + length])
            starts.append(self.offset + position)
            position = start + length
        self.offset += position
        if position < end:
            self._buffer += buffer[position:]
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
