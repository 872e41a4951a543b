"""What commands print: one JSON document, or tables for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

import typer

_BARS: Final = "▁▂▃▄▅▆▇█"
_UNWRAPPED: Final = 2000
STATUS_STYLES: Final = {
    "live": "green",
    "up": "green",
    "running": "green",
    "pending": "yellow",
    "warming": "yellow",
    "starting": "yellow",
    "retrying": "yellow",
    "paused": "yellow",
    "removing": "yellow",
    "degraded": "yellow",
    "unreachable": "red",
    "rejected": "red",
    "failed": "red",
}


def print_json(document: object) -> None:
    """Print one JSON document on stdout."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Print a table on stdout, or the sentence `empty`. Columns named `#...` are numbers, aligned right."""
    from rich.console import Console  # noqa: PLC0415 - `--json` does without
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.lstrip("#"), justify="right" if column.startswith("#") else "left")
    for row in rows:
        table.add_row(*(cell if hasattr(cell, "__rich__") else _text(cell) for cell in row))
    if table.row_count:
        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = _UNWRAPPED  # piped into another program, a row stays one line
        with console.capture() as capture:
            console.print(table)
        typer.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))
    else:
        typer.echo(empty)


def _text(cell: object) -> Any:
    from rich.text import Text  # noqa: PLC0415

    text = "" if cell is None else f"{cell:.6g}" if isinstance(cell, float) else str(cell)
    return Text(text, style=STATUS_STYLES.get(text, ""))


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """Draw values as a line of bars, lowest to highest; more than `width` are averaged in groups."""
    if not values:
        return ""
    groups = min(width, len(values))
    bounds = [index * len(values) // groups for index in range(groups + 1)]
    means = [sum(values[begin:end]) / (end - begin) for begin, end in pairwise(bounds)]
    low, span = min(means), max(means) - min(means)
    top = len(_BARS) - 1
    return "".join(_BARS[round((mean - low) / span * top) if span else 0] for mean in means)


def gauge(value: float, low: float, high: float, width: int = 16) -> str:
    """Draw where `value` lies between `low` and `high`: a mark on a line."""
    place = round((value - low) / (high - low) * (width - 1)) if high > low else 0
    return "·" * place + "●" + "·" * (width - 1 - place)
