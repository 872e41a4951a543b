"""Window rows as a push semantic model takes them. Pure.

The columns are those of the public windows table (ext_proc.sinks.tables), with
these differences that the service makes:
- times are ISO 8601, UTC, of milliseconds: a model keeps 1/300 s at best;
- a number that is not finite (a sum may overflow) is null: JSON has no word for it;
- a text of more than 4,000 characters is refused (see too_long).

There are no keys in a push table and rows are added at least once: a report
takes of each `row_key` one, and of each window the highest revision.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ext_proc.sinks.powerbi.arrays import Mask
from ext_proc.sinks.tables import WINDOWS_TABLE

MAX_STRING_CHARACTERS: Final = 4_000


def _data_type(column: pa.DataType) -> str:
    """Return the push API's name of an Arrow type (Column.dataType in its OpenAPI document)."""
    if pa.types.is_timestamp(column):
        return "DateTime"
    return {pa.string(): "String", pa.int64(): "Int64", pa.float64(): "Double"}[column]


COLUMNS: Final[Mapping[str, str]] = {field.name: _data_type(field.type) for field in WINDOWS_TABLE}
_STRINGS: Final = tuple(name for name, of_type in COLUMNS.items() if of_type == "String")


def definition(dataset_name: str, table: str) -> dict[str, Any]:
    """Return the body that creates a push semantic model with the windows table."""
    columns = [{"name": name, "dataType": of_type} for name, of_type in COLUMNS.items()]
    return {"name": dataset_name, "defaultMode": "Push", "tables": [{"name": table, "columns": columns}]}


def too_long(rows: pa.Table) -> Mask:
    """Return which rows hold a text that the service refuses."""
    found = np.zeros(rows.num_rows, bool)
    for name in _STRINGS:
        found |= pc.greater(pc.utf8_length(rows.column(name)), MAX_STRING_CHARACTERS).to_numpy()
    return found


def encode(rows: pa.Table) -> bytes:
    """Return rows of the public windows table as the body of a POST."""
    columns = [_values(rows.column(name), of_type) for name, of_type in COLUMNS.items()]
    named = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]
    return json.dumps({"rows": named}, allow_nan=False, separators=(",", ":")).encode()


def _values(column: pa.ChunkedArray, of_type: str) -> list[Any]:
    if of_type == "DateTime":
        instants = column.cast(pa.int64()).to_numpy().view("datetime64[ns]")
        texts: list[str] = np.datetime_as_string(instants, unit="ms", timezone="UTC").tolist()
        return texts
    values: list[Any] = column.to_pylist()
    if of_type == "Double":
        return [value if value is None or math.isfinite(value) else None for value in values]
    return values
