"""What is said of a turn: the id of its event, and a CloudEvent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ext_proc.rules.hysteresis import Turn
from wire.events import BEGIN, END, EVENTS_SCHEMA, NO_EVENTS, rule_source
from wire.gen.gaugeway.config.v1 import config_pb2

_ID_DIGITS: Final = 32
_MASK: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Subject:
    """The series that an event is about; of a sensor as a whole, metric and unit are empty."""

    sensor: str
    site: str
    metric: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class RuleEvent:
    """A turn, and of what."""

    rule: config_pb2.Rule
    subject: Subject
    turn: Turn


def event_id(rule: config_pb2.Rule, subject: Subject, turn: Turn) -> str:
    """Return the id of an event: a hash of rule, revision, series, and the reading that it begins with.

    The same however often, and by whomever, the log is folded (E2 of wire/journal.py).
    """
    parts = (
        *(rule.id, rule.revision, subject.sensor, subject.metric, subject.unit),
        *(f"{turn.epoch & _MASK:016x}", turn.seq),
    )
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:_ID_DIGITS]


def encode_events(events: Iterable[RuleEvent]) -> pa.RecordBatch:
    """Return events as rows of EVENTS_SCHEMA, in their order."""
    rows = [_row(event) for event in events]
    if not rows:
        return NO_EVENTS
    columns = [pa.array([row[name] for row in rows], type=pa.utf8()) for name in EVENTS_SCHEMA.names]
    return pa.RecordBatch.from_arrays(columns, schema=EVENTS_SCHEMA)


def _row(event: RuleEvent) -> dict[str, str]:
    rule, subject, turn = event.rule, event.subject, event.turn
    identity = event_id(rule, subject, turn)
    data: dict[str, Any] = {
        "event": identity,
        "rule": rule.id,
        "revision": rule.revision,
        "kind": rule.WhichOneof("condition"),
        "sensor": subject.sensor,
        "site": subject.site,
        "metric": subject.metric or None,
        "unit": subject.unit or None,
        "since": rfc3339(turn.since),
        "epoch": f"{turn.epoch & _MASK:016x}",
        "seq": turn.seq,
        "value": turn.value,
    }
    if not turn.begins:
        data["reason"] = turn.reason
    return {
        "id": f"{identity}.{'begin' if turn.begins else 'end'}",
        "source": rule_source(rule.id),
        "type": BEGIN if turn.begins else END,
        "subject": f"{subject.sensor}/{subject.metric}" if subject.metric else subject.sensor,
        "time": rfc3339(turn.time),
        "data": json.dumps(data, allow_nan=False, separators=(",", ":")),
    }


def rfc3339(unix_ns: int) -> str:
    """Return a time in UTC with nanoseconds."""
    return f"{np.datetime64(unix_ns, 'ns')}Z"
