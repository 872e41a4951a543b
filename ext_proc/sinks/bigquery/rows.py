"""Public rows as BigQuery takes them: Arrow record batches. Pure.

BigQuery's TIMESTAMP holds microseconds. A reading's own time keeps its
nanoseconds in a column beside it, `time_unix_ns`; those of windows are cut.
https://cloud.google.com/bigquery/docs/write-api#arrow-data-type-conversions
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from ext_proc.sinks.model import Chunk, Kind
from ext_proc.sinks.tables import TABLES, public_rows

REQUEST_BYTES: Final = 1 << 20  # best throughput; the service takes 20 MB at most
TIME_UNIX_NS: Final = "time_unix_ns"
_TIME: Final = pa.timestamp("us", tz="UTC")


def arrow_schema(kind: Kind) -> pa.Schema:
    """Return the schema of the requests for a table."""
    fields = [
        field.with_type(_TIME) if pa.types.is_timestamp(field.type) else field for field in TABLES[kind]
    ]
    if kind == "readings":
        fields.append(pa.field(TIME_UNIX_NS, pa.int64(), nullable=False))
    return pa.schema(fields)


def chosen_rows(chunks: Sequence[Chunk], window_sizes_ms: Sequence[int]) -> pa.Table:
    """Return the public rows of chunks of one kind; of windows, only those of the chosen sizes."""
    rows = public_rows(chunks)
    if chunks[0].kind == "readings":
        return rows
    return rows.filter(pc.is_in(rows.column("size_ms"), value_set=pa.array(window_sizes_ms, pa.int64())))


def parts(rows: pa.Table, limit_bytes: int = REQUEST_BYTES) -> Iterator[pa.Table]:
    """Cut `rows` into tables of about `limit_bytes` each, in order; none when there are no rows."""
    if rows.num_rows == 0:
        return
    each = max(1, limit_bytes * rows.num_rows // max(rows.nbytes, 1))
    for start in range(0, rows.num_rows, each):
        yield rows.slice(start, each)


def serialize(kind: Kind, rows: pa.Table) -> bytes:
    """Return public rows as one Arrow record batch message of arrow_schema(kind)."""
    schema = arrow_schema(kind)
    columns = [
        rows.column("time").cast(pa.int64())
        if field.name == TIME_UNIX_NS
        else rows.column(field.name).cast(field.type, safe=False)  # cuts nanoseconds
        for field in schema
    ]
    (batch,) = pa.Table.from_arrays(columns, schema=schema).combine_chunks().to_batches()
    data: bytes = batch.serialize().to_pybytes()
    return data
