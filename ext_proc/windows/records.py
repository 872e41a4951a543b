"""Records of the readings stream as arrays, checked before anything is changed by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ext_proc.windows.arrays import Floats, Ints
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import READINGS_SCHEMA, JournalFormatError, check_schema, decode_rows


@dataclass(frozen=True, slots=True)
class Words:
    """A column of words: words[code[i]] is that of row i."""

    code: Ints
    words: list[str]

    def used(self) -> Ints:
        """Return the codes that rows have, ascending."""
        return np.bincount(self.code, minlength=len(self.words)).nonzero()[0]


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
    if not batch.num_rows:
        return None
    sensor, site, epoch, seq, metric, unit, time, value, quality, verdict = batch.columns
    try:
        return ReadingRows(
            sensor=_words(sensor),
            site=_words(site),
            metric=_words(metric),
            unit=_words(unit),
            epoch=_numpy(epoch),
            seq=_numpy(seq).view(np.int64),  # below 2**63: the session sees to it
            time=_numpy(time).view(np.int64),
            value=_numpy(value),
            quality=_numpy(quality),
            verdict=_numpy(verdict),
        )
    except pa.ArrowInvalid as error:  # nulls have no place in an array
        raise JournalFormatError(f"rows hold nulls: {error}") from error


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


def compact(codes: Ints, span: int) -> tuple[Ints, Ints]:
    """Return for each code its place among the distinct codes, and those, ascending.

    Args:
        codes: 0 <= code < span.
        span: May be far more than there are codes.
    """
    if span > 4 * len(codes) + 4096:
        distinct, place = np.unique(codes, return_inverse=True)
        return place, distinct
    distinct = np.bincount(codes, minlength=span).nonzero()[0]
    place = np.empty(span, np.int64)
    place[distinct] = np.arange(len(distinct))
    return place[codes], distinct


def _words(column: Any) -> Words:
    words = column.dictionary.to_pylist()
    if len(set(words)) < len(words):
        raise JournalFormatError("a dictionary of the rows names a word twice")
    return Words(_numpy(column.indices).astype(np.int64), words)


def _numpy(column: Any) -> npt.NDArray[Any]:
    """Return a column's own memory as an array. Raises ArrowInvalid if it has nulls."""
    array: npt.NDArray[Any] = column.to_numpy(zero_copy_only=True)
    return array
