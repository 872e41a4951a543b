"""What an installation is told in its file, `gaugeway.toml`. Every section is optional.

[bigquery]                        # a BigQuery sink, beside the local warehouse
project = "my-project"
dataset = "plant"

[powerbi]                         # rows for a push dataset
workspace = "..."                 # group id
dataset = "..."
tenant = "..."
client_id = "..."
client_secret_env = "POWERBI_SECRET"   # or client_secret_file
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gaugeway.durations import parse_duration_ms

FILE_NAME: Final = "gaugeway.toml"


class SettingsError(ValueError):
    """The file cannot be used; each line of the text names a field and its rule."""


def _size_ms(value: object) -> object:
    return parse_duration_ms(value) if isinstance(value, str) else value


Sizes = tuple[Annotated[int, BeforeValidator(_size_ms), Field(gt=0)], ...]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BigQuerySettings(_Section):
    """Where BigQuery rows go. The endpoints are an emulator's; without them it is Google's service."""

    project: Annotated[str, Field(min_length=1)]
    dataset: Annotated[str, Field(min_length=1)]
    readings: bool = False
    window_sizes: Sizes = (60_000,)
    rest_endpoint: str | None = None
    grpc_endpoint: str | None = None


class PowerBiSettings(_Section):
    """Where Power BI rows go, and who delivers them."""

    workspace: Annotated[str, Field(min_length=1)]
    dataset: Annotated[str, Field(min_length=1)]
    table: str = "windows"
    tenant: Annotated[str, Field(min_length=1)]
    client_id: Annotated[str, Field(min_length=1)]
    client_secret_env: str | None = None
    client_secret_file: Path | None = None
    base_url: str | None = None
    token_url: str | None = None
    window_sizes: Sizes = (10_000,)


class Settings(_Section):
    """The whole file.

    Attributes:
        shards: How many shards a new installation gets; it keeps them.
        bigquery: A BigQuery sink, if there is to be one.
        powerbi: A Power BI sink, if there is to be one.
    """

    shards: Annotated[int, Field(ge=1, le=64)] = 2
    bigquery: BigQuerySettings | None = None
    powerbi: PowerBiSettings | None = None

    def targets(self, warehouse: Path) -> dict[str, dict[str, Any]]:
        """Return the sinks' targets (ext_proc.sinks.config) by the sinks' names."""
        targets: dict[str, dict[str, Any]] = {"warehouse": {"kind": "warehouse", "dir": str(warehouse)}}
        for name, section in (("bigquery", self.bigquery), ("powerbi", self.powerbi)):
            if section is not None:
                target = section.model_dump(mode="json", exclude_none=True)
                target["window_sizes_ms"] = target.pop("window_sizes")
                targets[name] = {"kind": name, **target}
        return targets


def find_settings(named: Path | None, data_dir: Path) -> Path | None:
    """Return the file to read: the one named, else ./gaugeway.toml, else the data directory's; None: none."""
    if named is not None:
        return named
    return next((file for file in (Path(FILE_NAME), data_dir / FILE_NAME) if file.is_file()), None)


def load_settings(file: Path | None) -> Settings:
    """Read the file; defaults if there is none. Raises SettingsError."""
    if file is None:
        return Settings()
    try:
        content = tomllib.loads(file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file} is not TOML: {error}") from error
    try:
        settings = Settings.model_validate(content)
    except ValidationError as error:
        raise SettingsError("\n".join(f"{file}: {line}" for line in _problems(error))) from error
    return _beside(settings, file)


def _beside(settings: Settings, file: Path) -> Settings:
    """Take a relative path in the file as relative to the file."""
    powerbi = settings.powerbi
    if powerbi is None or powerbi.client_secret_file is None:
        return settings
    secret = (file.parent / powerbi.client_secret_file).absolute()
    return settings.model_copy(update={"powerbi": powerbi.model_copy(update={"client_secret_file": secret})})


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        field = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            known = ", ".join(_fields(problem["loc"][:-1]))
            yield f"{field} is not a setting; there are {known}"
        elif problem["type"] == "missing":
            yield f"{field} is missing"
        else:
            yield f"{field}: {problem['msg'].removeprefix('Value error, ')}"


def _fields(path: tuple[int | str, ...]) -> Mapping[str, Any]:
    sections: dict[str, type[_Section]] = {"bigquery": BigQuerySettings, "powerbi": PowerBiSettings}
    return (sections[str(path[0])] if path else Settings).model_fields
