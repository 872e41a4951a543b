"""A line on a terminal that moves while something is waited for."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.markup import escape


class Line:
    """A context manager; gives what changes the line's text."""

    def __init__(self, first: str) -> None:
        self._status = Console(stderr=True).status(escape(first))

    def __enter__(self) -> Callable[[str], None]:
        self._status.start()
        return lambda text: self._status.update(escape(text))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()
