"""The rules' state as Arrow tables, for checkpoints: nothing if there is no rule.

Only lanes that remember something are in it: any other is found again, as it
was, with the next reading of its series.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ext_proc.rules.book import RuleBook
from ext_proc.rules.lanes import CLEAR, INTS, NEVER
from ext_proc.rules.rule import RuleError
from ext_proc.windows.arrays import grown
from ext_proc.windows.names import Names
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.journal import JournalFormatError, decode_rows, encode_rows

LANES: Final = "rule_lanes"
NEWEST: Final = "rule_newest"
_LANES_SCHEMA: Final = pa.schema(
    [("rule", pa.int64()), *((name, pa.int64()) for name in INTS), ("anchor_value", pa.float64())]
)
_SINCE: Final = ("since", "since_epoch", "since_seq")  # of no event, where none is open or pending
_NEWEST_SCHEMA: Final = pa.schema([("series", pa.int64()), ("time", pa.int64())])


def save(book: RuleBook) -> dict[str, bytes]:
    """Return everything as Arrow IPC streams by name; lanes by rule, then by place."""
    if not book.active:
        return {}
    parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in _LANES_SCHEMA.names}
    for number, state in enumerate(book.states.values()):
        lanes, count = state.lanes, state.lanes.count
        kept = np.flatnonzero((lanes.phase[:count] != CLEAR) | (lanes.anchor[:count] != NEVER))
        kept = kept[np.argsort(lanes.place[kept])]
        over = lanes.phase[kept] == CLEAR
        parts["rule"].append(np.full(len(kept), number))
        for name in (*INTS, "anchor_value"):
            column = getattr(lanes, name)[kept]
            parts[name].append(np.where(over, 0, column) if name in _SINCE else column)
    columns = [pa.array(np.concatenate(parts[field.name]), type=field.type) for field in _LANES_SCHEMA]
    seen = np.flatnonzero(book.newest.time != NEVER)
    newest = [pa.array(seen, type=pa.int64()), pa.array(book.newest.time[seen], type=pa.int64())]
    return {
        LANES: encode_rows(pa.RecordBatch.from_arrays(columns, schema=_LANES_SCHEMA)),
        NEWEST: encode_rows(pa.RecordBatch.from_arrays(newest, schema=_NEWEST_SCHEMA)),
    }


def restore(names: Names, rules: config_pb2.RuleSet, saved: Mapping[str, bytes]) -> RuleBook:
    """Return the book that `save` was given, over names as they were then. Raises JournalFormatError."""
    book = RuleBook(names)
    try:
        book.change(rules, 0)
    except RuleError as error:
        raise JournalFormatError(f"a rule of the checkpoint: {error}") from error
    if not book.active:
        return book
    if LANES not in saved or NEWEST not in saved:
        raise JournalFormatError("a checkpoint with rules, without their state")
    rows = decode_rows(saved[LANES], _LANES_SCHEMA)
    column = {name: rows.column(name).to_numpy() for name in _LANES_SCHEMA.names}
    for number, state in enumerate(book.states.values()):
        own = column["rule"] == number
        for place in column["place"][own].tolist():
            state.lanes.add(place)
        for name in (*INTS, "anchor_value"):
            getattr(state.lanes, name)[: state.lanes.count] = column[name][own]
    newest = decode_rows(saved[NEWEST], _NEWEST_SCHEMA)
    series = newest.column("series").to_numpy()
    book.newest.time = grown(book.newest.time, int(series.max(initial=-1)) + 1, NEVER)
    book.newest.time[series] = newest.column("time").to_numpy()
    return book
