"""Appends that are not acknowledged yet, and their place in the stream. Pure.

A COMMITTED stream takes rows at the offset that the request names, and answers
requests in their order. So a request whose answer was lost is sent again at
the same offset: ALREADY_EXISTS then means that it went in the first time.

Invariants
  P1  The offset of a request is the number of rows accepted in this stream
      before it: a pure function of the order of requests, never of the try.
  P2  A request keeps its rows until it is settled. Its rows change only after
      the service refused the whole request by name of rows, so a repeated
      request has the boundaries of the one whose answer was lost.
  P3  Every row of a delivery ends in exactly one of `rows` and `dead`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from ext_proc.sinks.model import DeadRow
from ext_proc.sinks.tables import json_rows


@dataclass(slots=True)
class Delivery:
    """What became of the rows that belong together.

    Attributes:
        waiting: Requests that are not settled.
        rows: Rows that the service took.
        dead: Rows that it refused by name.
    """

    waiting: int = 0
    rows: int = 0
    dead: list[DeadRow] = field(default_factory=list)


@dataclass(slots=True)
class Append:
    """Public rows of one request."""

    rows: pa.Table
    delivery: Delivery


class AppendQueue:
    """Requests in order: those sent and unanswered first, then those to send."""

    def __init__(self, in_flight: int) -> None:
        self._in_flight = in_flight
        self._appends: deque[Append] = deque()
        self._sent = 0
        self._accepted = 0  # rows in this stream
        self._offset = 0  # of the next request to send
        self._settled = 0

    def __len__(self) -> int:
        return len(self._appends)

    @property
    def unanswered(self) -> int:
        """How many requests were sent on this connection and not answered."""
        return self._sent

    @property
    def settled(self) -> int:
        """How many requests were settled, ever."""
        return self._settled

    def add(self, delivery: Delivery, parts: Iterable[pa.Table]) -> None:
        """Queue the requests of a delivery, none of them empty."""
        for rows in parts:
            self._appends.append(Append(rows, delivery))
            delivery.waiting += 1

    def reconnected(self) -> None:
        """Nothing is in flight: what is not settled will be sent again, at the same offsets."""
        self._sent = 0
        self._offset = self._accepted

    def stream_opened(self) -> None:
        """A new, empty stream is written from here on."""
        self._accepted = 0
        self.reconnected()

    def take(self) -> tuple[Append, int] | None:
        """Return the next request to send and its offset; None while there is none, or enough in flight."""
        if self._sent >= min(self._in_flight, len(self._appends)):
            return None
        append, offset = self._appends[self._sent], self._offset
        self._sent += 1
        self._offset += append.rows.num_rows
        return append, offset

    def accept(self) -> None:
        """The oldest request's rows are in the table."""
        append = self._pop()
        self._sent = max(0, self._sent - 1)
        self._accepted += append.rows.num_rows
        append.delivery.rows += append.rows.num_rows

    def drop_rows(self, reasons: Mapping[int, str]) -> None:
        """Take refused rows out of the oldest request, of which nothing was written.

        Those behind it move down: a new connection must be opened before anything is sent.
        """
        head = self._appends[0]
        bad = sorted(index for index in reasons if 0 <= index < head.rows.num_rows)
        refused = json_rows(head.rows.take(bad))
        head.delivery.dead += [DeadRow(row, reasons[index]) for index, row in zip(bad, refused, strict=True)]
        keep = np.ones(head.rows.num_rows, dtype=bool)
        keep[bad] = False
        head.rows = head.rows.filter(pa.array(keep))
        if head.rows.num_rows == 0:
            self._pop()
        self.reconnected()

    def stream_ended(self, rows: int) -> None:
        """The stream was closed for good with this many rows: settle what they cover.

        Raises ValueError if the rows end inside a request, which the service never does.
        """
        while self._appends and self._accepted + self._appends[0].rows.num_rows <= rows:
            self.accept()
        if self._appends and self._accepted < rows:
            raise ValueError(f"the stream ended with {rows} rows, inside the request at {self._accepted}")
        self.reconnected()

    def _pop(self) -> Append:
        append = self._appends.popleft()
        append.delivery.waiting -= 1
        self._settled += 1
        return append
