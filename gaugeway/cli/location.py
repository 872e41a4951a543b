"""Where the API is and which token it wants, from options, environment or the data directory."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gaugeway.cli.errors import CliError, ExitCode

URL_VARIABLE: Final = "GAUGEWAY_URL"
TOKEN_FILE_VARIABLE: Final = "GAUGEWAY_TOKEN_FILE"  # noqa: S105 - a name
DATA_DIR: Final = Path("gaugeway-data")


@dataclass(frozen=True, slots=True)
class Location:
    """An API and the token for it."""

    url: str
    token: str


def find_api(api_url: str | None, token_file: Path | None, data_dir: Path | None) -> Location:
    """Return where the API is.

    Options come first, then GAUGEWAY_URL and GAUGEWAY_TOKEN_FILE (unless a data
    directory is named), then `run/up.json` of the data directory. Raises CliError.
    """
    environment = os.environ if data_dir is None else {}
    url = api_url or environment.get(URL_VARIABLE)
    file = token_file or _path(environment.get(TOKEN_FILE_VARIABLE))
    if url is None or file is None:
        up = _up(data_dir or DATA_DIR, url)
        url = url or up.get("api_url")
        file = file or _path(up.get("token_file"))
    if url is None or file is None:
        raise CliError(ExitCode.UNREACHABLE, "Gaugeway is still starting: its API has no address yet")
    return Location(url.rstrip("/"), _token(file))


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _up(data_dir: Path, url: str | None) -> dict[str, str]:
    file = data_dir / "run" / "up.json"
    try:
        up: dict[str, str] = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        missing = "the token for it is not known" if url else "no Gaugeway runs here"
        raise CliError(
            ExitCode.UNREACHABLE,
            f"{missing}: {file} cannot be read",
            "start one with `gaugeway up`, or name one with --data-dir, or with --api-url and --token-file",
        ) from error
    return up


def _token(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError as error:
        raise CliError(
            ExitCode.UNREACHABLE, f"the token cannot be read: {error}", "name its file with --token-file"
        ) from error
