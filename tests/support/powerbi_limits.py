"""The published limits of Power BI's push semantic models, and a model that holds POSTs to them.

"Power BI REST APIs push semantic models limitations" (learn.microsoft.com,
power-bi/developer/embedded/push-datasets-limitations). Where the page gives no
number (the size of a body) there is none.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

MAX_TABLES: Final = 75
MAX_COLUMNS: Final = 75
MAX_ROWS_PER_POST: Final = 10_000
MAX_POSTS_PER_MINUTE: Final = 120
MAX_ROWS_PER_HOUR: Final = 1_000_000
MAX_PENDING_POSTS: Final = 5
MAX_FIFO_ROWS: Final = 200_000
MAX_ROWS_WITHOUT_POLICY: Final = 5_000_000
LARGE_TABLE_ROWS: Final = 250_000
MAX_LARGE_TABLE_POSTS_PER_HOUR: Final = 120
MAX_STRING_CHARACTERS: Final = 4_000
MINUTE_S: Final = 60.0
HOUR_S: Final = 3600.0

TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "String": (str,),
    "Int64": (int,),
    "Double": (int, float),
    "Boolean": (bool,),
    "DateTime": (str,),
}


class RefusalError(Exception):
    """What is answered instead of 200; `breach` says which limit was broken, if one was."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str = "",
        retry_after_s: float | None = None,
        breach: str | None = None,
    ) -> None:
        super().__init__(f"{status} {code} {message}")
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        self.breach = breach


@dataclass
class Table:
    """One table; of its rows the bodies of the POSTs that brought them are kept."""

    columns: dict[str, str]
    keeps: int
    total: int = 0
    posts: deque[tuple[int, bytes]] = field(default_factory=deque)

    @property
    def stored(self) -> int:
        """How many rows are in it now."""
        return min(self.total, self.keeps)

    def append(self, count: int, body: bytes) -> None:
        """Take a POST of `count` rows; a FIFO table forgets its oldest ones."""
        self.posts.append((count, body))
        self.total += count
        held = sum(count for count, _ in self.posts)
        while held - self.posts[0][0] >= self.keeps:
            held -= self.posts.popleft()[0]

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows that are stored, oldest first."""
        rows = [row for _, body in self.posts for row in json.loads(body)["rows"]]
        return rows[-self.keeps :]


@dataclass
class Dataset:
    """One push semantic model.

    Attributes:
        posts: Time and rows of the POSTs of the last hour.
        not_before: When Retry-After, as it was said last, is over.
    """

    dataset_id: str
    name: str
    fifo: bool
    tables: dict[str, Table]
    pending: int = 0
    posts: deque[tuple[float, int]] = field(default_factory=deque)
    not_before: float = 0.0

    def count_post(self, table: Table, now: float) -> None:
        """Count a POST at `now`. Raises RefusalError if it comes too early."""
        if now < self.not_before:
            wait = self.not_before - now
            raise self._too_early(wait, f"a POST {wait:.1f} s before Retry-After was over")
        while self.posts and self.posts[0][0] <= now - HOUR_S:
            self.posts.popleft()
        minute = [at for at, _ in self.posts if at > now - MINUTE_S]
        if len(minute) >= MAX_POSTS_PER_MINUTE:
            breach = f"POST {len(minute) + 1} within a minute; the limit is {MAX_POSTS_PER_MINUTE}"
            raise self._too_early(minute[0] + MINUTE_S - now, breach)
        if table.stored >= LARGE_TABLE_ROWS and len(self.posts) >= MAX_LARGE_TABLE_POSTS_PER_HOUR:
            breach = f"POST {len(self.posts) + 1} within an hour to a table of {table.stored} rows"
            raise self._too_early(self.posts[0][0] + HOUR_S - now, breach)
        self.posts.append((now, 0))

    @staticmethod
    def _too_early(wait_s: float, breach: str) -> RefusalError:
        return RefusalError(429, "TooManyRequests", retry_after_s=wait_s, breach=breach)

    def count_rows(self, table: Table, body: bytes, now: float) -> int:
        """Return how many rows the POST counted last has. Raises RefusalError if they may not come."""
        rows = json.loads(body, parse_constant=_no_such_number)["rows"]
        if len(rows) > MAX_ROWS_PER_POST:
            breach = f"{len(rows)} rows in a POST; the limit is {MAX_ROWS_PER_POST}"
            raise RefusalError(400, "TooManyRows", breach=breach)
        hour = sum(count for _, count in self.posts) + len(rows)
        if hour > MAX_ROWS_PER_HOUR:
            breach = f"{hour} rows within an hour; the limit is {MAX_ROWS_PER_HOUR}"
            raise self._too_early(self.posts[0][0] + HOUR_S - now, breach)
        if not self.fifo and table.stored + len(rows) > MAX_ROWS_WITHOUT_POLICY:
            raise RefusalError(400, "TableFull", breach=f"over {MAX_ROWS_WITHOUT_POLICY} rows in a table")
        for row in rows:
            _check_row(table, row)
        at, _ = self.posts[-1]
        self.posts[-1] = (at, len(rows))
        return len(rows)


def check_tables(tables: Mapping[str, Mapping[str, str]]) -> None:
    """Raise RefusalError if a model must not have these tables (column names and types)."""
    if len(tables) > MAX_TABLES:
        breach = f"{len(tables)} tables in a model; the limit is {MAX_TABLES}"
        raise RefusalError(400, "TooManyTables", breach=breach)
    for name, columns in tables.items():
        if len(columns) > MAX_COLUMNS:
            breach = f"{len(columns)} columns in {name}; the limit is {MAX_COLUMNS}"
            raise RefusalError(400, "TooManyColumns", breach=breach)
        if unknown := set(columns.values()) - set(TYPES):
            raise RefusalError(400, "InvalidRequest", f"unknown data types {unknown}")


def _no_such_number(constant: str) -> float:
    raise RefusalError(400, "InvalidRequest", breach=f"{constant} is not JSON")


def _check_row(table: Table, row: dict[str, Any]) -> None:
    for name, value in row.items():
        kind = table.columns.get(name)
        if kind is None:
            raise RefusalError(400, "UnknownColumn", name)
        if value is None:
            continue
        if type(value) not in TYPES[kind]:
            raise RefusalError(400, "InvalidValue", name)
        if kind == "String" and len(value) > MAX_STRING_CHARACTERS:
            breach = f"{len(value)} characters in {name}; the limit is {MAX_STRING_CHARACTERS}"
            raise RefusalError(400, "StringTooLong", name, breach=breach)
        if kind == "DateTime" and datetime.fromisoformat(value).tzinfo is None:
            raise RefusalError(400, "InvalidValue", name)
