"""Events as CloudEvents 1.0: the columns they have in the journal, and their structured JSON form.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
An event of a rule is two CloudEvents, of types BEGIN and END; `data.event` is
the same in both.
"""

from __future__ import annotations

import json
from typing import Any, Final

import pyarrow as pa

SPEC_VERSION: Final = "1.0"
BEGIN: Final = "gaugeway.event.begin"
END: Final = "gaugeway.event.end"

EVENTS_SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.utf8(), nullable=False),
        pa.field("source", pa.utf8(), nullable=False),
        pa.field("type", pa.utf8(), nullable=False),
        pa.field("subject", pa.utf8(), nullable=False),
        pa.field("time", pa.utf8(), nullable=False),  # RFC 3339
        pa.field("data", pa.utf8(), nullable=False),  # one JSON object
    ]
)
NO_EVENTS: Final = pa.RecordBatch.from_arrays(
    [pa.array([], type=field.type) for field in EVENTS_SCHEMA], schema=EVENTS_SCHEMA
)


def rule_source(rule_id: str) -> str:
    """Return the `source` of a rule's events."""
    return f"/v1/rules/{rule_id}"


def structured(rows: pa.RecordBatch) -> list[dict[str, Any]]:
    """Return rows of EVENTS_SCHEMA as CloudEvents in structured JSON form."""
    return [
        {
            "specversion": SPEC_VERSION,
            **{name: row[name] for name in ("id", "source", "type", "subject", "time")},
            "datacontenttype": "application/json",
            "data": json.loads(row["data"]),
        }
        for row in rows.to_pylist()
    ]
