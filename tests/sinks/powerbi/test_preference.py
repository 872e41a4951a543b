"""What is given up when there is no room, held against a slow and simple statement of it."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.sinks.powerbi.preference import RESERVE, Room, keep
from ext_proc.sinks.tables import public_rows
from tests.sinks.powerbi.support import MS, START_NS, S, chunk, series

SIZE_NS = 10 * S


@st.composite
def windows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw windows of a few series, in any order, with corrections."""
    one = st.fixed_dictionaries(
        {
            "sensor": st.sampled_from(["a", "b"]),
            "metric": st.sampled_from(["t", "u"]),
            "unit": st.sampled_from(["K", "Pa"]),
            "size_ms": st.sampled_from([10_000, 60_000]),
            "start": st.integers(0, 12).map(lambda number: START_NS + number * SIZE_NS),
            "revision": st.integers(1, 3),
        }
    )
    return draw(st.lists(one, min_size=1, max_size=60))


def kept_simply(rows: list[dict[str, Any]], room: Room) -> set[int]:
    """Say which rows are kept, row by row, in the words of the module's docstring."""

    def age(index: int) -> tuple[int, int, int]:
        return rows[index]["start"], rows[index]["revision"], index

    def stale(index: int) -> bool:
        row = rows[index]
        return bool(row["start"] + row["size_ms"] * MS < room.stale_before_unix_ns)

    newest: dict[tuple[Any, ...], int] = {}
    for index, row in enumerate(rows):
        name = (row["sensor"], row["metric"], row["unit"], row["size_ms"])
        newest[name] = max(newest.get(name, index), index, key=age)
    kept = {index for index in newest.values() if not stale(index)}

    def rank(index: int) -> tuple[bool, bool, tuple[int, ...]]:
        return stale(index), index not in newest.values(), tuple(-part for part in age(index))

    for index in sorted(set(range(len(rows))) - kept, key=rank):
        if len(kept) < room.rows - (RESERVE * len(newest) if stale(index) else 0):
            kept.add(index)
    return kept


@settings(deadline=None)
@given(windows(), st.integers(0, 250), st.integers(-5, 30))
def test_what_is_kept(rows: list[dict[str, Any]], room_rows: int, stale_before: int) -> None:
    """The vectorised choice is the simple one, for any batch and any room."""
    room = Room(room_rows, START_NS + stale_before * SIZE_NS)
    mask = keep(public_rows([chunk(rows)]), room)
    assert {index for index, chosen in enumerate(mask) if chosen} == kept_simply(rows, room)


def test_with_room_nothing_is_given_up() -> None:
    """Also not what is stale, as long as the reserve is not touched."""
    rows = public_rows([chunk(series(50)), chunk(series(50, START_NS + SIZE_NS), seq=2)])
    assert keep(rows, Room(600, START_NS + 1000 * S)).all()


def test_the_newest_of_every_series_comes_first() -> None:
    """Without any room each series has its newest window, and nothing else."""
    backlog = [chunk(series(20, START_NS + span * SIZE_NS), seq=span + 1) for span in range(9)]
    mask = keep(public_rows(backlog), Room(0, START_NS))
    assert mask.tolist() == [False] * 160 + [True] * 20


def test_a_backlog_is_passed_over() -> None:
    """Stale windows without room are all given up: nobody waits for them."""
    rows = public_rows([chunk(series(20))])
    assert not keep(rows, Room(200, START_NS + 1000 * S)).any()


def test_no_rows() -> None:
    """A batch of which no row is wanted keeps none."""
    rows = public_rows([chunk(series(2))]).slice(0, 0)
    assert keep(rows, Room(10, 0)).tolist() == []
