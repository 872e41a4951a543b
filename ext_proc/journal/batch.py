"""Micro-batches: what the sessions of a shard delivered, gathered into one record's rows and notes.

Rows keep the order in which they were delivered, which is R3 of wire/journal.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ext_proc.session.model import (
    Delivery,
    Duplicates,
    Hole,
    Interruption,
    NotNumeric,
    Readings,
    Series,
    Undecodable,
)
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import READINGS_SCHEMA

ROW_BYTES: Final = 52  # the columns of READINGS_SCHEMA, uncompressed
_ITEM_BYTES: Final = 256  # at most: a sensor's and a site's word with offsets, or a note
_WORD_OVERHEAD: Final = 8


@dataclass(frozen=True, slots=True)
class Batch:
    """What one READINGS record carries.

    Attributes:
        rows: Rows of READINGS_SCHEMA; None if there are only notes.
        notes: Notes, merged where they say the same.
        cursors: Highest sequence number by (sensor, epoch), holes included.
        ticket: The ticket of the last delivery that it holds whole.
    """

    rows: pa.RecordBatch | None
    notes: list[journal_pb2.StreamNote]
    cursors: dict[tuple[str, int], int]
    ticket: int


class Batcher:
    """A queue of deliveries, cut into batches that keep to limits of rows and bytes.

    Tickets count deliveries from 1. `pending` is the number of rows that wait
    (a note counts as one).
    """

    def __init__(self, max_rows: int, max_bytes: int) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._items: deque[tuple[Delivery, int]] = deque()  # with their sizes
        self._taken = 0
        self.pending = 0
        self.offered = 0

    def offer(self, item: Delivery) -> int:
        """Queue `item`; return its ticket."""
        size = len(item) if isinstance(item, Readings) else 1
        self._items.append((item, size))
        self.offered += 1
        self.pending += size
        return self.offered

    def take(self) -> Batch | None:
        """Return the next batch, None if nothing waits. A run of readings may be cut between batches."""
        if not self._items:
            return None
        taken: list[Delivery] = []
        rows, room = self._max_rows, self._max_bytes
        of_object: dict[int, int] = {}  # bytes of the words, by identity: most runs share one table
        while self._items and rows > 0 and room > 0:
            item, size = self._items.popleft()
            if isinstance(item, Readings):
                words = of_object.get(id(item.series))
                if words is None:
                    words = of_object[id(item.series)] = _words_bytes(item.series)
                room -= words
                fit = max(1, min(rows, room // ROW_BYTES))
                if size > fit:
                    self._items.appendleft((item.part(fit, size), size - fit))
                    item, size = item.part(0, fit), fit
                    self._taken -= 1  # it is not taken whole
                room -= size * ROW_BYTES
            room -= _ITEM_BYTES
            rows -= size
            taken.append(item)
            self._taken += 1
        self.pending -= self._max_rows - rows
        return _assemble(taken, self._taken)


def _words_bytes(series: Series) -> int:
    return sum(len(metric) + len(unit) + 2 * _WORD_OVERHEAD for metric, unit in series)


def _assemble(items: Sequence[Delivery], ticket: int) -> Batch:
    runs = [item for item in items if isinstance(item, Readings)]
    cursors: dict[tuple[str, int], int] = {}
    for item in items:
        if isinstance(item, (Readings, Hole)):
            key = (item.sensor_id, item.epoch)
            cursors[key] = max(cursors.get(key, 0), item.last_seq)
    return Batch(
        rows=rows_of(runs) if runs else None,
        notes=_notes([item for item in items if not isinstance(item, Readings)]),
        cursors=cursors,
        ticket=ticket,
    )


def rows_of(runs: Sequence[Readings]) -> pa.RecordBatch:
    """Return runs of readings as rows of READINGS_SCHEMA, in the order given.

    Work in Python is for each run and each series, never for each reading.
    """
    lengths = np.array([len(run) for run in runs])
    words, offsets = _series_words([run.series for run in runs])
    series = np.concatenate([run.series_index for run in runs]).astype(np.int64)
    series += np.repeat(offsets, lengths)
    run_of_row = np.repeat(np.arange(len(runs)), lengths)
    starts = np.cumsum(lengths) - lengths
    first = np.array([run.first_seq for run in runs], dtype=np.uint64)
    seq = np.repeat(first, lengths) + (np.arange(lengths.sum()) - np.repeat(starts, lengths)).astype(
        np.uint64
    )
    epoch = np.repeat(np.array([run.epoch for run in runs], dtype=np.uint64), lengths)
    time = pa.array(np.concatenate([run.time_unix_ns for run in runs]))
    columns = [
        _dictionary([run.sensor_id for run in runs], run_of_row),
        _dictionary([run.site for run in runs], run_of_row),
        pa.array(epoch),
        pa.array(seq),
        _dictionary([metric for metric, _ in words], series),
        _dictionary([unit for _, unit in words], series),
        time.view(READINGS_SCHEMA.field("time").type),
        pa.array(np.concatenate([run.value for run in runs])),
        pa.array(np.concatenate([run.quality for run in runs])),
        pa.array(np.concatenate([run.verdict for run in runs])),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=READINGS_SCHEMA)


def _series_words(tables: Sequence[Series]) -> tuple[list[tuple[str, str]], NDArray[np.int64]]:
    """Return all entries of the distinct tables, and where each given table begins in them."""
    begins: dict[Series, int] = {}
    words: list[tuple[str, str]] = []
    of_object: dict[int, int] = {}  # by identity: runs that share an object need no look at its words
    for table in tables:
        if id(table) not in of_object:
            if table not in begins:
                begins[table] = len(words)
                words.extend(table)
            of_object[id(table)] = begins[table]
    return words, np.array([of_object[id(table)] for table in tables], dtype=np.int64)


def _dictionary(words: Sequence[str], index: NDArray[np.int64]) -> pa.DictionaryArray:
    """Return words[index] as a dictionary column of distinct words."""
    codes: dict[str, int] = {}
    by_word = np.array([codes.setdefault(word, len(codes)) for word in words], dtype=np.int32)
    return pa.DictionaryArray.from_arrays(by_word[index], pa.array(list(codes), type=pa.utf8()))


def _notes(
    items: Sequence[Duplicates | Hole | Undecodable | NotNumeric | Interruption],
) -> list[journal_pb2.StreamNote]:
    """Return notes in order of appearance; counts of the same kind and stream are added up."""
    merged: dict[object, journal_pb2.StreamNote] = {}
    for place, item in enumerate(items):
        note = journal_pb2.StreamNote(sensor_id=item.sensor_id, epoch=item.epoch)
        match item:
            case Duplicates():
                key: object = (item.sensor_id, item.epoch)
                merged.setdefault(key, note).duplicates.count += item.count
            case Hole():
                hole = journal_pb2.Hole(first_seq=item.first_seq, last_seq=item.last_seq, reason=item.reason)
                note.hole.CopyFrom(hole)
                merged[place] = note
            case Undecodable():
                key = (item.sensor_id, item.epoch, item.reason)
                told = merged.setdefault(key, note).undecodable
                told.frames += item.frames
                told.bytes += item.byte_count
                if not told.reason:
                    told.reason, told.offset, told.head_hex = item.reason, item.offset, item.head.hex()
            case NotNumeric():
                key = (item.sensor_id, item.epoch, item.reason, NotNumeric)
                unread = merged.setdefault(key, note).not_numeric
                unread.records += item.records
                unread.reason = item.reason
            case Interruption():
                merged.setdefault((item.sensor_id, item.epoch, Interruption), note).interruption.streams += 1
    return list(merged.values())
