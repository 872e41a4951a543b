"""Records of the readings stream as arrays, checked before anything is changed by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ext_proc.windows.arrays import Floats, Ints
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import READINGS_SCHEMA, JournalFormatError, check_schema, decode_rows

_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Words:
    """A column of words: words[code[i]] is that of row i."""

    code: Ints
    words: list[str]

    def used(self) -> Ints:
        """Return the codes that rows have, ascending."""
        return np.flatnonzero(np.bincount(self.code, minlength=len(self.words)))


@dataclass(frozen=True, slots=True)
class ReadingRows:
    """The rows of one record. At least one."""

    sensor: Words
    site: Words
    metric: Words
    unit: Words
    epoch: npt.NDArray[np.uint64]
    seq: Ints
    time: Ints  # Unix ns
    value: Floats
    quality: npt.NDArray[np.uint8]
    verdict: npt.NDArray[np.uint8]


def read_rows(record: journal_pb2.ReadingsRecord) -> ReadingRows | None:
    """Return a record's rows, None if it has none. Raises JournalFormatError."""
    check_schema(record.schema)
    _check_envelope(record)
    if not record.rows:
        if record.count:
            raise JournalFormatError(f"count is {record.count}, but there are no rows")
        return None
    batch = decode_rows(record.rows, READINGS_SCHEMA)
    if batch.num_rows != record.count:
        raise JournalFormatError(f"count is {record.count}, but there are {batch.num_rows} rows")
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.null_count:
            raise JournalFormatError(f"column {name} has {column.null_count} nulls")
    if not batch.num_rows:
        return None
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    return ReadingRows(
        sensor=_words(columns["sensor"]),
        site=_words(columns["site"]),
        metric=_words(columns["metric"]),
        unit=_words(columns["unit"]),
        epoch=_numpy(columns["epoch"], np.uint64),
        seq=_numpy(columns["seq"], np.uint64).view(np.int64),  # below 2**63: the session sees to it
        time=_numpy(columns["time"].view(pa.int64()), np.int64),
        value=_numpy(columns["value"], np.float64),
        quality=_numpy(columns["quality"], np.uint8),
        verdict=_numpy(columns["verdict"], np.uint8),
    )


def _check_envelope(record: journal_pb2.ReadingsRecord) -> None:
    for place, size in enumerate(record.policy.sizes):
        if not size.size_ms:
            raise JournalFormatError(f"policy.sizes[{place}].size_ms is 0; it must be at least 1")
    for place, note in enumerate(record.notes):
        hole = note.hole
        if note.HasField("hole") and not 1 <= hole.first_seq <= hole.last_seq < 2**63:
            raise JournalFormatError(
                f"notes[{place}].hole is {hole.first_seq}..{hole.last_seq}; "
                "it must be 1 <= first_seq <= last_seq < 2^63"
            )


def distinct(parts: tuple[Words, ...], rows: Ints | slice) -> tuple[Ints, list[tuple[str, ...]]]:
    """Return the distinct combinations of words among `rows`, and for each row which it has.

    Combinations are numbered by their codes, so the numbering comes from the record alone.
    """
    combined = parts[0].code[rows]
    span = len(parts[0].words)
    for part in parts[1:]:
        combined = combined * len(part.words) + part.code[rows]
        span *= len(part.words)
    if span <= 4 * len(combined) + 4096:
        codes = np.flatnonzero(np.bincount(combined, minlength=span))
        place = np.empty(span, np.int64)
        place[codes] = np.arange(len(codes))
        of_row = place[combined]
    else:
        codes, of_row = np.unique(combined, return_inverse=True)
    columns: list[list[str]] = []
    for part in reversed(parts):
        codes, code = np.divmod(codes, len(part.words))
        columns.append([part.words[entry] for entry in code.tolist()])
    return of_row, list(zip(*reversed(columns), strict=True))


def _words(column: Any) -> Words:
    return Words(_numpy(column.indices, np.int32).astype(np.int64), column.dictionary.to_pylist())


def _numpy(column: Any, kind: type[_Scalar]) -> npt.NDArray[_Scalar]:
    array: npt.NDArray[_Scalar] = np.asarray(column.to_numpy(zero_copy_only=True), dtype=kind)
    return array
