"""The queue of unacknowledged requests, against a model of a stream."""

from __future__ import annotations

from collections import Counter, deque

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.sinks.bigquery.pending import AppendQueue, Delivery

ROWS = pa.schema([("seq", pa.int64())])


def table(*seqs: int) -> pa.Table:
    """Return rows with these numbers."""
    return pa.table({"seq": pa.array(seqs, pa.int64())}, schema=ROWS)


def test_offsets_count_the_rows_before() -> None:
    """The offset of a request is that of its first row; no more than `in_flight` are out."""
    queue = AppendQueue(in_flight=2)
    queue.add(Delivery(), [table(1, 2, 3), table(4), table(5, 6)])
    offsets = [queue.take(), queue.take(), queue.take()]
    assert [taken and taken[1] for taken in offsets] == [0, 3, None]
    queue.accept()
    taken = queue.take()
    assert taken is not None
    assert taken[1] == 4


def test_a_reconnect_repeats_offsets() -> None:
    """What was not acknowledged is sent again at the offsets it had."""
    queue = AppendQueue(in_flight=9)
    queue.add(Delivery(), [table(1, 2), table(3), table(4)])
    for _ in range(3):
        queue.take()
    queue.accept()
    queue.reconnected()
    taken = [queue.take(), queue.take(), queue.take()]
    assert [one and one[1] for one in taken] == [2, 3, None]


def test_an_ended_stream_settles_what_it_covers() -> None:
    """Its row count is the truth; in the next stream the rest begins at 0."""
    queue, delivery = AppendQueue(in_flight=9), Delivery()
    queue.add(delivery, [table(1, 2), table(3), table(4)])
    for _ in range(3):
        queue.take()
    queue.stream_ended(3)
    assert (delivery.rows, delivery.waiting) == (3, 1)
    queue.stream_opened()
    taken = queue.take()
    assert taken is not None
    assert taken[1] == 0


def test_a_stream_cannot_end_inside_a_request() -> None:
    """The service writes a request as a whole: anything else is an error, never a guess."""
    queue = AppendQueue(in_flight=9)
    queue.add(Delivery(), [table(1, 2)])
    with pytest.raises(ValueError, match="inside the request"):
        queue.stream_ended(1)


def test_dropped_rows_are_told_to_their_delivery() -> None:
    """Reasons go with the rows; a request without rows is settled."""
    queue, delivery = AppendQueue(in_flight=9), Delivery()
    queue.add(delivery, [table(1, 2, 3), table(4)])
    queue.take()
    queue.drop_rows({1: "b"})
    assert [(row.row, row.reason) for row in delivery.dead] == [({"seq": 2}, "b")]
    queue.drop_rows({0: "a", 1: "c", 99: "no such row"})
    assert (delivery.waiting, len(queue), len(delivery.dead)) == (1, 1, 3)


class ModelStream:
    """What the service does, one request at a time, in order; answers may be lost on the way."""

    def __init__(self, poison: set[int]) -> None:
        self.poison = poison
        self.rows: list[int] = []
        self.sealed: list[int] = []

    def append(self, offset: int, seqs: list[int]) -> str | dict[int, str]:
        """Return "ok", "exists", "ahead", or the refused rows."""
        if offset != len(self.rows):
            return "exists" if offset < len(self.rows) else "ahead"
        refused = {index: "no" for index, seq in enumerate(seqs) if seq in self.poison}
        if not refused:
            self.rows += seqs
        return refused or "ok"

    def finalize(self) -> int:
        """Seal the stream, begin another; return the sealed one's row count."""
        count = len(self.rows)
        self.sealed += self.rows
        self.rows = []
        return count


class Connection:
    """Requests on their way, and the writer's reaction to their answers."""

    def __init__(self, queue: AppendQueue, stream: ModelStream) -> None:
        self.queue, self.stream = queue, stream
        self.wire: deque[tuple[int, list[int]]] = deque()

    def send(self) -> None:
        """Put the next request on the wire, if there is one."""
        taken = self.queue.take()
        if taken is not None:
            self.wire.append((taken[1], taken[0].rows.column("seq").to_pylist()))

    def answer(self) -> None:
        """Have the service handle the oldest request on the wire, and hear its answer."""
        if not self.wire:
            return
        answer = self.stream.append(*self.wire.popleft())
        if isinstance(answer, dict):
            self.new_stream()
            self.queue.drop_rows(answer)
        elif answer in {"ok", "exists"}:
            self.queue.accept()
        else:
            self.cut(handled=0)

    def cut(self, handled: int) -> None:
        """Lose the connection after the service handled some requests; nobody hears the answers."""
        for _ in range(min(handled, len(self.wire))):
            self.stream.append(*self.wire.popleft())
        self.wire.clear()
        self.queue.reconnected()

    def new_stream(self) -> None:
        """Seal the stream and go on in another."""
        self.wire.clear()
        self.queue.stream_ended(self.stream.finalize())
        self.queue.stream_opened()


STEPS = st.one_of(
    st.tuples(st.just("send"), st.just(0)),
    st.tuples(st.just("answer"), st.just(0)),
    st.tuples(st.just("cut"), st.integers(0, 4)),
    st.tuples(st.just("new_stream"), st.integers(0, 4)),
)


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=8),
    poison=st.sets(st.integers(1, 24), max_size=6),
    steps=st.lists(STEPS, max_size=40),
)
def test_every_row_is_written_once_or_dead(
    sizes: list[int], poison: set[int], steps: list[tuple[str, int]]
) -> None:
    """Whatever order of cuts, lost answers, refused rows and ended streams: none is lost, none twice."""
    queue, stream, delivery = AppendQueue(in_flight=3), ModelStream(poison), Delivery()
    starts = [1 + sum(sizes[:index]) for index in range(len(sizes))]
    parts = [table(*range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]
    queue.add(delivery, parts)
    connection = Connection(queue, stream)
    for name, handled in steps:
        if name == "cut":
            connection.cut(handled)
        elif name == "new_stream":
            connection.cut(handled)
            connection.new_stream()
        else:
            getattr(connection, name)()
    while len(queue):
        connection.send()
        connection.answer()
    every = set(range(1, sum(sizes) + 1))
    written = Counter(stream.sealed + stream.rows)
    assert written == Counter(every - poison)
    assert delivery.waiting == 0
    assert delivery.rows == written.total()
    assert Counter(row.row["seq"] for row in delivery.dead) == Counter(every & poison)
