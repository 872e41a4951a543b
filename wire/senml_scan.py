"""Where a JSON object ends, found piece by piece: brackets and strings, nothing else."""

from __future__ import annotations

import re
from typing import Final

MAX_DEPTH: Final = 32

_OUTSIDE = re.compile(rb'["{}\[\]]')
_INSIDE = re.compile(rb'["\\]')
_CLOSERS: Final = {ord("{"): ord("}"), ord("["): ord("]")}


class LostError(ValueError):
    """Nothing can be read from `start` of the buffer on."""

    def __init__(self, reason: str, start: int) -> None:
        self.reason = reason
        self.start = start
        super().__init__(reason)


class RecordScanner:
    """Finds the end of one object at a time; each byte is looked at once, however they come."""

    __slots__ = ("_closers", "_in_string", "_max_bytes", "_scanned")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._reset()

    def _reset(self) -> None:
        self._scanned = 0  # bytes of the object that were looked at
        self._in_string = False
        self._closers = bytearray()  # of what is open

    @property
    def begun(self) -> bool:
        """Say whether an object was begun and its end is not found yet."""
        return self._scanned > 0

    def end(self, buffer: bytes, start: int, end: int) -> int | None:
        """Return where the object ends that begins at `start`; None if that is not here yet.

        After None it must be called with the same object and more bytes.
        Raises LostError if brackets do not match, or above MAX_DEPTH or the bytes allowed.
        """
        position = start + self._scanned
        limit = min(end, start + self._max_bytes)
        while position < limit:
            found = (_INSIDE if self._in_string else _OUTSIDE).search(buffer, position, limit)
            if found is None:
                position = limit
                break
            position = found.end()
            byte = buffer[position - 1]
            if byte == ord("\\"):
                position += 1  # what is escaped may not be here yet
            elif byte == ord('"'):
                self._in_string = not self._in_string
            elif self._closes_all(byte, start):
                self._reset()
                return position
        self._scanned = position - start
        if end - start > self._max_bytes:
            raise LostError(f"a record is above {self._max_bytes} bytes", start)
        return None

    def _closes_all(self, byte: int, start: int) -> bool:
        """Note a bracket outside of strings; say whether nothing is open after it."""
        closer = _CLOSERS.get(byte)
        if closer is not None:
            self._closers.append(closer)
            if len(self._closers) > MAX_DEPTH:
                raise LostError(f"a record is nested deeper than {MAX_DEPTH}", start)
            return False
        if self._closers.pop() != byte:
            raise LostError("the brackets of a record do not match", start)
        return not self._closers
