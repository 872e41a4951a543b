"""SenML JSON as it arrives: the records of packs in a body that may be cut anywhere.

RFC 8428, sections 5 (JSON) and 4.8 (streams): a pack is a JSON array of
records. A body holds packs one after the other; that of a stream never ends.
A record that cannot be read costs itself, as long as it is known where it ends
and which base fields it held; else everything after it would be resolved
wrongly, and the body is lost from there on.

What is buffered is one record that has not arrived whole, at most
MAX_RECORD_BYTES. What comes out does not depend on where the body is cut.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import msgspec

from wire.senml_scan import LostError, RecordScanner

HEAD_BYTES: Final = 32  # of what could not be read, to recognise it by
MAX_RECORD_BYTES: Final = 64 * 1024

_SPACE = re.compile(rb"[ \t\r\n]*+")
_FLAT = re.compile(rb'\{(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+\}', re.DOTALL)
_BASE_LABEL = re.compile(rb'"b(?:n|t|u|v|s|ver)"|\\')
_BASE_DEMAND = re.compile(rb'"b[^"]*_"\s*:|\\u005')
_STRING_OR_NAN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|-?(?:NaN|Infinity)', re.DOTALL)


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record; the fields are the labels of RFC 8428, table 1. None: absent."""

    n: str | None = None
    v: float | None = None
    t: float = 0.0
    u: str | None = None
    vb: bool | None = None
    vs: str | None = None
    vd: str | None = None
    s: float | None = None
    ut: float | None = None
    bn: str | None = None
    bt: float | None = None
    bu: str | None = None
    bv: float | None = None
    bs: float | None = None
    bver: float | None = None


class _Bases(msgspec.Struct, frozen=True, gc=False):
    bn: str | None = None
    bt: float | None = None
    bu: str | None = None
    bv: float | None = None
    bs: float | None = None
    bver: float | None = None


_NO_BASES: Final = Record()
_ONLY_BASES = msgspec.json.Decoder(_Bases)
_ONE = msgspec.json.Decoder(Record)
_MANY = msgspec.json.Decoder(list[Record])


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record is in the body: its offset and size in bytes, and its first bytes."""

    offset: int
    size: int
    head: bytes


@dataclass(slots=True)
class Records:
    """Consecutive records of one pack.

    Attributes:
        records: At least one.
        begins_pack: They are the first of their pack: no base field is in force before them.
        offset: Of `raw` in the body.
        raw: Their bytes, if none is nested; else empty, and their places are known.
    """

    records: list[Record]
    begins_pack: bool
    offset: int
    raw: bytes
    known_places: list[Place] | None = None

    def places(self) -> list[Place]:
        """Return where each record is."""
        if self.known_places is None:
            spans = (match.span() for match in _FLAT.finditer(self.raw))
            self.known_places = [
                Place(self.offset + start, stop - start, self.raw[start:stop][:HEAD_BYTES])
                for start, stop in spans
            ]
        return self.known_places


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot be read. The base fields in it, `bases`, are in force all the same."""

    reason: str
    place: Place
    bases: Record
    begins_pack: bool


@dataclass(frozen=True, slots=True)
class Loss:
    """Why nothing more can be read; `place` begins there, and is as long as what came of the rest."""

    reason: str
    place: Place


class RecordReader:
    """Reads a body that is fed in arbitrary pieces.

    Attributes:
        lost: Set when nothing more can be read.
        packs: Packs that ended.
        pending: What arrived of a record that is not whole.
        offset: Where in the body `pending` begins.
    """

    __slots__ = ("_begins_pack", "_expects", "_scanner", "lost", "offset", "packs", "pending")

    def __init__(self) -> None:
        self._expects = b"["  # later: what may come in a new pack, after a comma, after a record
        self._begins_pack = False
        self._scanner = RecordScanner(MAX_RECORD_BYTES)
        self.pending = b""
        self.offset = 0
        self.lost: Loss | None = None
        self.packs = 0

    @property
    def pending_place(self) -> Place:
        """Where `pending` is in the body."""
        return Place(self.offset, len(self.pending), self.pending[:HEAD_BYTES])

    @property
    def between_packs(self) -> bool:
        """Say whether every pack that began has ended."""
        return self._expects == b"["

    def feed(self, data: bytes) -> list[Records | BadRecord]:
        """Return what `data` completed, in order; nothing once `lost` is set."""
        found: list[Records | BadRecord] = []
        if self.lost is not None:
            return found
        buffer = self.pending + data if self.pending else data
        try:
            rest = self._read(buffer, found)
        except LostError as error:
            start = rest = error.start
            head = buffer[start : start + HEAD_BYTES]
            self.lost = Loss(error.reason, Place(self.offset + start, len(buffer) - start, head))
            buffer = b""
        self.pending = buffer[rest:]
        self.offset += rest
        return found

    def _read(self, buffer: bytes, found: list[Records | BadRecord]) -> int:
        """Read on; return where the bytes begin that are still needed. Raises LostError."""
        position, end, careful_to = 0, len(buffer), 0
        while True:
            start = self._next_record(buffer, position, end)
            if start is None:
                return end
            if start >= careful_to and not self._scanner.begun:
                close = buffer.find(b"]", start, start + MAX_RECORD_BYTES)
                most = close if close >= 0 else start + MAX_RECORD_BYTES
                past = buffer.rfind(b"}", start, most) + 1
                run = self._run(buffer, start, past)
                if run is not None:
                    found.append(run)
                    position = past
                    continue
                careful_to = past
            stop = self._end_of_record(buffer, start, end)
            if stop is None:
                return start
            self._take_one(buffer[start:stop], start, found)
            position = stop

    def _next_record(self, buffer: bytes, position: int, end: int) -> int | None:
        """Go over what is between records; return where the next one begins, None at the end."""
        while True:
            space = _SPACE.match(buffer, position)
            position = space.end() if space else position
            if position >= end:
                return None
            byte = buffer[position : position + 1]
            if byte not in self._expects:
                raise LostError("the body is no SenML pack of records", position)
            if byte == b"{":
                return position
            if byte == b"[":
                self._expects, self._begins_pack = b"{]", True
            elif byte == b"]":
                self._expects = b"["
                self.packs += 1
            else:
                self._expects = b"{"
            position += 1

    def _run(self, buffer: bytes, start: int, past: int) -> Records | None:
        """Return start..past-1 as records; None if that is not plainly a run of good ones, none nested."""
        raw = buffer[start:past]
        if not raw or b"[" in raw or _may_demand(raw):
            return None
        try:
            records = _MANY.decode(b"[%b]" % raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if len(records) != raw.count(b"{"):
            return None
        run = Records(records, self._begins_pack, self.offset + start, raw)
        self._expects, self._begins_pack = b",]", False
        return run

    def _end_of_record(self, buffer: bytes, start: int, end: int) -> int | None:
        """Return the end of the record that begins at `start`, None if it is not here yet."""
        if not self._scanner.begun:
            flat = _FLAT.match(buffer, start)
            if flat is not None and flat.end() - start <= MAX_RECORD_BYTES:
                return flat.end()
        return self._scanner.end(buffer, start, end)

    def _take_one(self, raw: bytes, start: int, found: list[Records | BadRecord]) -> None:
        place = Place(self.offset + start, len(raw), raw[:HEAD_BYTES])
        record = _decode(raw)
        last = found[-1] if found else None
        if isinstance(record, str):
            bases = _bases(raw)
            if bases is None:
                raise LostError(f"{record}, so base fields may be lost", start)
            found.append(BadRecord(record, place, bases, self._begins_pack))
        elif isinstance(last, Records) and last.known_places is not None and not self._begins_pack:
            last.records.append(record)
            last.known_places.append(place)
        else:
            found.append(Records([record], self._begins_pack, place.offset, b"", [place]))
        self._expects, self._begins_pack = b",]", False


def _may_demand(raw: bytes) -> bool:
    """Say whether a label may end with '_', whose field must be understood (RFC 8428, section 4.4)."""
    return b'_"' in raw or b"\\u005" in raw


def _decode(raw: bytes) -> Record | str:
    """Return a record, or why it cannot be read."""
    try:
        record = _ONE.decode(raw)
        if _may_demand(raw) and any(label.endswith("_") for label in msgspec.json.decode(raw)):
            return "a field that must be understood is not known"
    except msgspec.ValidationError as error:
        out_of_range = str(error).startswith("Number out of range")
        return "a number is out of range" if out_of_range else "a field has the wrong type"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "a record is not JSON"
    return record


def _bases(raw: bytes) -> Record | None:
    """Return the base fields of a record that cannot be read; None if they cannot be told.

    Not-a-number and infinities, which JSON does not have, are what devices write most often.
    """
    plain = _STRING_OR_NAN.sub(lambda match: match[0] if match[0].startswith(b'"') else b"null", raw)
    if _may_demand(raw) and _demands_base(plain):
        return None
    try:
        bases = _ONLY_BASES.decode(plain)
    except (msgspec.DecodeError, UnicodeDecodeError):  # of which ValidationError is one
        return None if _BASE_LABEL.search(raw) else _NO_BASES
    return msgspec.convert(bases, Record, from_attributes=True)


def _demands_base(raw: bytes) -> bool:
    """Say whether there is a base field that must be understood, or may be one."""
    try:
        labels = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _BASE_DEMAND.search(raw) is not None
    return any(label.startswith("b") and label.endswith("_") for label in labels)
