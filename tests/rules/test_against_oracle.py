"""Random logs and rules: against the oracle, across checkpoints, and however the log is cut."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.rules.events import rfc3339
from ext_proc.windows.fold import Fold
from tests.rules.oracle import RuleOracle, Said
from tests.rules.strategies import logs
from tests.windows.logs import opened, policy, tick
from tests.windows.strategies import with_rows
from wire.events import structured
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import READINGS_SCHEMA, decode_rows, encode_rows

Log = list[journal_pb2.ReadingsRecord]
Told = tuple[str, int, str, str, str, int, str, float | None, str | None]


def told(events: pa.RecordBatch) -> list[Told]:
    """Return what events say, in their order, but for their ids."""
    return [
        (
            each["data"]["rule"],
            each["data"]["revision"],
            each["subject"],
            each["type"].rpartition(".")[2],
            each["data"]["epoch"],
            each["data"]["seq"],
            each["time"],
            each["data"]["value"],
            each["data"].get("reason"),
        )
        for each in structured(events)
    ]


def expected(said: Said) -> Told:
    """Return what the oracle says, as events say it."""
    rule, revision, (sensor, metric, _), what, epoch, seq, time, value, reason = said
    subject = f"{sensor}/{metric}" if metric else sensor
    return rule, revision, subject, what, f"{epoch:016x}", seq, rfc3339(time), value, reason or None


@settings(max_examples=150, deadline=None)
@given(log=logs())
def test_every_record_begins_and_ends_what_the_oracle_says(log: Log) -> None:
    """The same beginnings and endings after every record, with their times, values and reasons."""
    fold, oracle = Fold(0), RuleOracle()
    for seq, record in enumerate(log, start=1):
        events = fold.apply(seq, record).events
        assert Counter(told(events)) == Counter(map(expected, oracle.apply(record)))


@settings(max_examples=60, deadline=None)
@given(log=logs(), data=st.data())
def test_any_checkpoint_continues_byte_for_byte(log: Log, data: st.DataObject) -> None:
    """Restored from a checkpoint anywhere, a fold emits the same events, and ends in the same checkpoint."""
    fold, restored = Fold(0), Fold(0)
    cut = data.draw(st.integers(0, len(log)))
    outputs = []
    for seq, record in enumerate(log, start=1):
        outputs.append(encode_rows(fold.apply(seq, record).events))
        if seq == cut:
            stored = fold.checkpoint().SerializeToString()
            restored = Fold.restore(journal_pb2.Checkpoint.FromString(stored))
            assert restored.checkpoint() == fold.checkpoint()
    again = [encode_rows(restored.apply(n, each).events) for n, each in enumerate(log[cut:], start=cut + 1)]
    assert again == outputs[cut:]
    assert restored.checkpoint() == fold.checkpoint()


@settings(max_examples=60, deadline=None)
@given(log=logs())
def test_begin_and_end_alternate_and_ids_are_never_used_again(log: Log) -> None:
    """An event that began ends before the next one of its rule and series begins; no id comes twice."""
    fold = Fold(0)
    open_events: dict[tuple[str, str, str], str] = {}
    ids: set[str] = set()
    for seq, record in enumerate(log, start=1):
        for event in structured(fold.apply(seq, record).events):
            data = event["data"]
            key = (data["rule"], event["subject"], data["unit"])
            if event["type"].endswith("begin"):
                assert key not in open_events
                open_events[key] = data["event"]
            else:
                assert open_events.pop(key) == data["event"]
            assert event["id"] not in ids
            ids.add(event["id"])


def pieces(data: st.DataObject, record: journal_pb2.ReadingsRecord) -> Iterator[journal_pb2.ReadingsRecord]:
    """Cut a record's rows anywhere."""
    rows = decode_rows(record.rows, READINGS_SCHEMA).to_pylist()
    cuts = sorted(data.draw(st.sets(st.integers(1, len(rows)))) | {len(rows)})
    for first, end in zip([0, *cuts], cuts, strict=False):
        yield with_rows(tick(record.now_unix_ns), rows[first:end])


@settings(max_examples=60, deadline=None)
@given(log=logs(moves=False), data=st.data())
def test_events_do_not_depend_on_how_readings_are_cut_into_records(log: Log, data: st.DataObject) -> None:
    """The same readings in records cut anywhere: the same events.

    So it is as long as no reading becomes too late by it, and no sensor's site changes within a record.
    """
    never_late = policy(horizon_ms=10**12)
    whole, cut = Fold(0), Fold(0)
    found: list[list[str]] = [[], []]
    for record in log:
        if record.HasField("policy"):
            record.policy.CopyFrom(never_late)
        parts = list(pieces(data, record)) if record.rows else [record]
        for fold, records, events in ((whole, [record], found[0]), (cut, parts, found[1])):
            for each in records:
                emitted = fold.apply(fold.through + 1, each).events
                events += [json.dumps(event, sort_keys=True) for event in structured(emitted)]
    assert Counter(found[0]) == Counter(found[1])


def test_without_rules_nothing_is_remembered() -> None:
    """A log that never had a rule leaves no trace of rules in its checkpoint."""
    fold = Fold(0)
    fold.apply(1, opened(0))
    checkpoint = fold.checkpoint()
    assert not checkpoint.rules.rules
    assert [name for name in checkpoint.tables if name.startswith("rule")] == []
