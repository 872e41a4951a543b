"""What a session made of a body, in a form that does not say where the body was cut."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ext_proc.session.encodings import AnySession
from ext_proc.session.model import (
    Delivery,
    Duplicates,
    Hole,
    Interruption,
    NotNumeric,
    Readings,
    TimeBounds,
    Undecodable,
)

Row = tuple[int, int, str, str, int, float | str, int]


@dataclass
class Outcome:
    """Rows in order, and what was said beside them, added up.

    Attributes:
        rows: (epoch, seq, metric, unit, event time in ns, value, verdict); infinities and NaN as text.
        notes: How often each note was made.
        bytes: Of what was undecodable; 0 if framing was lost.
        rejected: How many by reason, and where the first was.
        lost: Whether nothing more can be read.
    """

    rows: list[Row] = field(default_factory=list)
    notes: Counter[object] = field(default_factory=Counter)
    bytes: int = 0
    rejected: dict[str, tuple[int, int]] = field(default_factory=dict)
    lost: bool = False


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Return `data` cut at each of `cuts`, taken modulo its length."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


def outcome(session: AnySession, parts: Sequence[bytes], bounds: TimeBounds) -> Outcome:
    """Feed `parts`, end the stream in order, and return what came of it."""
    made = Outcome()
    for part in parts:
        _take(made, session, session.feed(part, bounds))
    _take(made, session, session.finish(complete=True))
    if session.lost is not None:
        made.lost, made.bytes = True, 0  # of the rest, those bytes are counted that came
    return made


def _take(made: Outcome, session: AnySession, items: Sequence[Delivery]) -> None:
    for item in items:
        match item:
            case Readings():
                made.rows += _rows(item)
            case Undecodable():
                made.notes["frames", item.epoch, item.reason] += item.frames
                made.bytes += item.byte_count
            case NotNumeric():
                made.notes["not numeric", item.epoch, item.reason] += item.records
            case Duplicates():
                made.notes["duplicates", item.epoch] += item.count
            case Hole() | Interruption():
                made.notes[item] += 1
    for rejection in session.rejections.take():
        count, offset = made.rejected.get(rejection.reason, (0, rejection.offset))
        made.rejected[rejection.reason] = count + rejection.count, offset


def _rows(item: Readings) -> list[Row]:
    return [
        (
            item.epoch,
            item.first_seq + place,
            *item.series[item.series_index[place]],
            int(item.time_unix_ns[place]),
            value if abs(value) < float("inf") else str(value),
            int(item.verdict[place]),
        )
        for place, value in enumerate(item.value.tolist())
    ]
