"""SenML records, resolved: names, units, times and numbers in columns (RFC 8428, section 4).

Base fields are in force from their record to the end of the pack. Bn and n
are joined, bt and t, bv and v added; u goes before bu. A time below 2^28 s is
relative to now. Times are kept to the microsecond, which is what a double
holds of a present-day time. Base sums and sums, update times and values that
are no number make no readings; records with nothing else are counted by reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wire.senml_stream import BadRecord, Record, Records

DEFAULT_VERSION: Final = 10
VERSIONS: Final = frozenset({*range(1, DEFAULT_VERSION + 1), 26})  # 26: secondary units, RFC 9100
RELATIVE_BELOW_S: Final = 2.0**28
MAX_NAME: Final = 256
MAX_UNIT: Final = 32
MAX_QUANTITIES: Final = 4096

NOT_NUMERIC: Final = ("a string value", "a boolean value", "a data value", "a sum only", "no value")
_MOST_S: Final = 9.2e9  # what nanoseconds in 64 bits hold, nearly: the year 2261


@dataclass(frozen=True, slots=True)
class Quantity:
    """What a record measures: its resolved name and unit ("": none given)."""

    name: str
    unit: str


@dataclass(slots=True)
class Resolved:
    """What some records say.

    Attributes:
        quantity: Index into Resolver.quantities, shape (n,), of each record with a number.
        time_unix_ns: Event times, shape (n,), cut to the years 1678 to 2261.
        value: Numbers, shape (n,); infinite if base and value add up to that.
        places: Index of each such record among `records`.
        records: What was resolved.
        not_numeric: The records with no number: their index among `records` by reason, of NOT_NUMERIC.
        refused: (index among `records`, reason) of those that must not be used.
    """

    quantity: NDArray[np.int64]
    time_unix_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    places: list[int]
    records: Records
    not_numeric: dict[str, list[int]]
    refused: list[tuple[int, str]]


@dataclass(slots=True)
class _Columns:
    quantity: list[int] = field(default_factory=list)
    time_s: list[float] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    not_numeric: dict[str, list[int]] = field(default_factory=dict)
    refused: list[tuple[int, str]] = field(default_factory=list)


class Resolver:
    """The base fields in force in one body, and the quantities that came in it.

    `quantities` only grows, up to MAX_QUANTITIES; records with others are refused.
    """

    __slots__ = ("_bn", "_bt", "_bu", "_bv", "_known", "_table", "_version", "quantities")

    def __init__(self) -> None:
        self.quantities: list[Quantity] = []
        self._table: dict[Quantity, int] = {}
        self._known: dict[tuple[str | None, str | None], int] = {}  # by (n, u) under the bases in force
        self._begin_pack()

    def _begin_pack(self) -> None:
        self._bn = self._bu = ""
        self._bt = 0.0
        self._bv: float | None = None
        self._version: float = DEFAULT_VERSION
        self._known.clear()

    def skip(self, bad: BadRecord) -> None:
        """Put the base fields of a record that cannot be read in force."""
        if bad.begins_pack:
            self._begin_pack()
        self._take_bases(bad.bases)

    def resolve(self, records: Records, now_unix_ns: int) -> Resolved:
        """Return what `records` say at `now_unix_ns`."""
        if records.begins_pack:
            self._begin_pack()
        columns = _Columns()
        for place, record in enumerate(records.records):
            rare = record.bv is not None or record.bver is not None
            if rare or record.bn is not None or record.bt is not None or record.bu is not None:
                self._take_bases(record)
            number = record.v
            if number is None or record.vs is not None or record.vd is not None or record.vb is not None:
                number = self._number(record, place, columns)
                if number is None:
                    continue
            elif self._bv is not None:
                number += self._bv
            quantity = self._known.get((record.n, record.u))
            if quantity is None or self._version not in VERSIONS:
                quantity = self._quantity(record, place, columns)
                if quantity is None:
                    continue
            columns.quantity.append(quantity)
            columns.time_s.append(self._bt + record.t)
            columns.value.append(number)
            columns.places.append(place)
        return _resolved(records, columns, now_unix_ns)

    def _take_bases(self, record: Record) -> None:
        if record.bn is not None or record.bu is not None:
            self._bn = self._bn if record.bn is None else record.bn
            self._bu = self._bu if record.bu is None else record.bu
            self._known.clear()
        if record.bt is not None:
            self._bt = record.bt
        if record.bv is not None:
            self._bv = record.bv
        if record.bver is not None:
            self._version = record.bver

    def _number(self, record: Record, place: int, columns: _Columns) -> float | None:
        """Return the number of a record that is not plainly one; None, after counting why, if it has none."""
        others = [
            reason
            for reason, value in zip(NOT_NUMERIC, (record.vs, record.vb, record.vd), strict=False)
            if value is not None
        ]
        if len(others) + (record.v is not None) > 1:
            columns.refused.append((place, "more than one value"))
            return None
        if not others:
            if _is_base_only(record):
                return None
            if record.s is None and self._bv is not None:
                return self._bv
            others = ["a sum only" if record.s is not None else "no value"]
        columns.not_numeric.setdefault(others[0], []).append(place)
        return None

    def _quantity(self, record: Record, place: int, columns: _Columns) -> int | None:
        """Return a quantity that is not in `_known`; None, after refusing the record, if it may not be."""
        name = self._bn + (record.n or "")
        unit = self._bu if record.u is None else record.u
        quantity = Quantity(name, unit)
        index = self._table.get(quantity)
        reason = None
        if self._version not in VERSIONS:
            reason = "a version that is not known"
        elif not 0 < len(name) <= MAX_NAME:
            reason = f"a name that is empty or above {MAX_NAME} characters"
        elif len(unit) > MAX_UNIT:
            reason = f"a unit above {MAX_UNIT} characters"
        elif index is None and len(self.quantities) >= MAX_QUANTITIES:
            reason = f"more than {MAX_QUANTITIES} names"
        if reason is not None:
            columns.refused.append((place, reason))
            return None
        if index is None:
            index = self._table[quantity] = len(self.quantities)
            self.quantities.append(quantity)
        if len(self._known) >= MAX_QUANTITIES:
            self._known.clear()
        self._known[record.n, record.u] = index
        return index


def _is_base_only(record: Record) -> bool:
    others = (record.n, record.u, record.s, record.ut)
    return record.t == 0 and all(value is None for value in others)


def _resolved(records: Records, columns: _Columns, now_unix_ns: int) -> Resolved:
    seconds = np.array(columns.time_s, np.float64)
    micros = np.rint(np.clip(seconds, -_MOST_S, _MOST_S) * 1e6).astype(np.int64)
    time_unix_ns = micros * 1000
    relative = seconds < RELATIVE_BELOW_S
    if relative.any():
        time_unix_ns[relative] += now_unix_ns
    return Resolved(
        np.array(columns.quantity, np.int64),
        time_unix_ns,
        np.array(columns.value, np.float64),
        columns.places,
        records,
        columns.not_numeric,
        columns.refused,
    )
