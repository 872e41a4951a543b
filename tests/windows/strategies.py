"""Random logs: several sensors, epochs, holes, duplicates, backlogs, idle times, policy changes."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from hypothesis import strategies as st

from tests.windows.logs import S, changed, note, opened, policy, tick
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import READINGS_SCHEMA, encode_rows

SENSORS = ("a", "b", "c")
QUANTITIES = (("temperature", "Cel"), ("pressure", "kPa"))

VALUES = st.one_of(
    st.floats(-100, 100, allow_nan=False),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 5e-324, 1.7976931348623157e308, -1.7976931348623157e308]),
)
TIMES = st.one_of(
    st.integers(-20, 400).map(lambda tenths: tenths * S // 10),
    st.integers(-(10**10), 10**12),
)

POLICIES = st.builds(
    lambda sizes, horizon, idle: policy(tuple(sizes.items()), horizon, idle),
    st.dictionaries(st.sampled_from([100, 250, 1000, 1500, 10_000]), st.booleans(), min_size=1, max_size=3),
    st.sampled_from([0, 1000, 10_000, 10**9]),
    st.sampled_from([0, 500, 5_000]),
)


def with_rows(
    record: journal_pb2.ReadingsRecord, rows: Sequence[dict[str, object]]
) -> journal_pb2.ReadingsRecord:
    """Put rows into a record."""
    record.kind = journal_pb2.ReadingsRecord.READINGS
    record.count = len(rows)
    record.rows = encode_rows(pa.RecordBatch.from_pylist(rows, schema=READINGS_SCHEMA))
    return record


@st.composite
def rows_of(draw: st.DrawFn, seqs: dict[tuple[str, int], int]) -> list[dict[str, object]]:
    """Draw rows that go on from `seqs`, with jumps and repeated numbers now and then."""
    rows: list[dict[str, object]] = []
    for _ in range(draw(st.integers(0, 6))):
        sensor, epoch = draw(st.sampled_from(SENSORS)), draw(st.sampled_from([7, 7, 7, 9]))
        base = draw(TIMES)
        for _ in range(draw(st.integers(1, 4))):
            seq = max(1, seqs.get((sensor, epoch), 0) + draw(st.sampled_from([1, 1, 1, 1, 1, 3, 0, -1])))
            seqs[sensor, epoch] = max(seq, seqs.get((sensor, epoch), 0))
            metric, unit = draw(st.sampled_from(QUANTITIES))
            rows.append(
                {
                    "sensor": sensor,
                    "site": draw(st.sampled_from(["hall", "hall", "yard"])),
                    "epoch": epoch,
                    "seq": seq,
                    "metric": metric,
                    "unit": unit,
                    "time": base + draw(st.integers(-S, S)),
                    "value": draw(VALUES),
                    "quality": draw(st.sampled_from([0, 0, 0, 0, 0, 0, 1])),
                    "verdict": draw(st.sampled_from([0, 0, 0, 0, 0, 0, 2])),
                }
            )
    return rows


@st.composite
def logs(
    draw: st.DrawFn, policies: st.SearchStrategy[config_pb2.WindowPolicy] = POLICIES
) -> list[journal_pb2.ReadingsRecord]:
    """Draw a log of shard 0, OPEN first."""
    records = [opened(draw(st.integers(0, S)), draw(policies))]
    seqs: dict[tuple[str, int], int] = {}
    for _ in range(draw(st.integers(1, 10))):
        now = records[-1].now_unix_ns + draw(st.sampled_from([0, S // 25, S // 4, S, 7 * S, 100 * S]))
        if draw(st.integers(0, 9)) == 0:
            records.append(changed(now, draw(policies)))
            continue
        rows = draw(rows_of(seqs))
        record = with_rows(tick(now), rows) if rows else tick(now)
        for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
            draw_note(draw, record, seqs)
        records.append(record)
    return records


def draw_note(draw: st.DrawFn, record: journal_pb2.ReadingsRecord, seqs: dict[tuple[str, int], int]) -> None:
    """Add a note of any kind to a record."""
    sensor, epoch = draw(st.sampled_from(SENSORS)), draw(st.sampled_from([7, 9]))
    added = note(record, sensor, epoch)
    kind = draw(st.sampled_from(["duplicates", "undecodable", "hole", "hole"]))
    if kind == "duplicates":
        added.duplicates.count = draw(st.integers(1, 5))
    elif kind == "undecodable":
        added.undecodable.frames = 1
    else:
        first = max(1, seqs.get((sensor, epoch), 0) + draw(st.integers(-4, 2)))
        added.hole.first_seq, added.hole.last_seq = first, first + draw(st.integers(0, 4))
        if draw(st.booleans()):
            seqs[sensor, epoch] = max(seqs.get((sensor, epoch), 0), added.hole.last_seq)
