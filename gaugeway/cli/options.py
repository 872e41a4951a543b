"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gaugeway.cli.client import ApiClient
from gaugeway.cli.location import TOKEN_FILE_VARIABLE, URL_VARIABLE, find_api
from gaugeway.durations import parse_duration_ms

_PANEL = "Which Gaugeway"

ApiUrl = Annotated[
    str | None,
    typer.Option(help=f"The API; else ${URL_VARIABLE}, else that of --data-dir.", rich_help_panel=_PANEL),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        help=f"The API's token; else ${TOKEN_FILE_VARIABLE}, else that of --data-dir.", rich_help_panel=_PANEL
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="The data directory of a `gaugeway up` on this machine.  [default: ./gaugeway-data]",
        rich_help_panel=_PANEL,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def duration(text: str) -> str:
    """Check a duration option; return it as it was written."""
    try:
        parse_duration_ms(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return text


def connect(api_url: str | None, token_file: Path | None, data_dir: Path | None) -> ApiClient:
    """Return a client of the API that the options name. Raises CliError."""
    return ApiClient(find_api(api_url, token_file, data_dir))
