"""What an installation is told in its file, `gaugeway.toml`. Every section is optional.

    shards = 4                        # of a new installation; it keeps them
    preflight = true                  # Envoy checks what is new before it is given out

    [warehouse]                       # the local warehouse is always there
    keep_days = 90

    [bigquery]                        # a BigQuery sink beside it
    project = "my-project"
    dataset = "plant"
    window_sizes = ["10s", "60s"]

    [powerbi]                         # a Power BI sink: rows for a push dataset
    workspace = "..."
    dataset = "..."
    tenant = "..."
    client_id = "..."
    client_secret_env = "POWERBI_SECRET"

The sections have the fields of the sinks' own configurations, with
`window_sizes` for `window_sizes_ms`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ext_proc.sinks.bigquery.config import BigQueryTarget
from ext_proc.sinks.powerbi.config import PowerBiTarget
from ext_proc.sinks.warehouse.config import WarehouseTarget
from gaugeway.durations import parse_duration_ms

FILE_NAME: Final = "gaugeway.toml"


class SettingsError(ValueError):
    """The file cannot be used; each line of the text names a field and its rule."""


def _size_ms(value: object) -> object:
    return parse_duration_ms(value) if isinstance(value, str) else value


Sizes = tuple[Annotated[int, BeforeValidator(_size_ms), Field(gt=0)], ...]


class WarehouseSettings(WarehouseTarget):
    """The local warehouse; `dir` is relative to the data directory."""

    dir: Path = Path("warehouse")


class BigQuerySettings(BigQueryTarget):
    """Where BigQuery rows go. The endpoints are an emulator's; without them it is Google's service."""

    window_sizes_ms: Sizes = Field((60_000,), validation_alias="window_sizes")


class PowerBiSettings(PowerBiTarget):
    """Where Power BI rows go, and who delivers them. A relative `client_secret_file` is beside the file."""

    window_sizes_ms: Annotated[Sizes, Field(min_length=1)] = Field((10_000,), validation_alias="window_sizes")


class Settings(BaseModel):
    """The whole file.

    Attributes:
        shards: How many shards a new installation gets; it keeps them.
        preflight: Whether Envoy checks changed clusters, listeners and routes before any Envoy is given them.
        warehouse: The local warehouse.
        bigquery: A BigQuery sink, if there is to be one.
        powerbi: A Power BI sink, if there is to be one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shards: Annotated[int, Field(ge=1, le=64)] = 2
    preflight: bool = True
    warehouse: WarehouseSettings = WarehouseSettings()
    bigquery: BigQuerySettings | None = None
    powerbi: PowerBiSettings | None = None

    def warehouse_dir(self, data_dir: Path) -> Path:
        """Return the warehouse's folder."""
        return data_dir / self.warehouse.dir

    def targets(self, data_dir: Path) -> dict[str, dict[str, Any]]:
        """Return the sinks' targets (ext_proc.sinks.config) by the sinks' names."""
        targets: dict[str, dict[str, Any]] = {
            section.kind: section.model_dump(mode="json")
            for section in (self.warehouse, self.bigquery, self.powerbi)
            if section is not None
        }
        targets["warehouse"]["dir"] = str(self.warehouse_dir(data_dir))
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
    _take_as_beside(content, file)
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        raise SettingsError("\n".join(f"{file}: {line}" for line in _problems(error))) from error


def _take_as_beside(content: dict[str, Any], file: Path) -> None:
    """Take a relative path of a secret as relative to the file that names it."""
    powerbi = content.get("powerbi")
    if isinstance(powerbi, dict) and isinstance(powerbi.get("client_secret_file"), str):
        powerbi["client_secret_file"] = str((file.parent / powerbi["client_secret_file"]).absolute())


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        field = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            yield f"{field} is not a setting; there are {', '.join(_names(problem['loc'][:-1]))}"
        elif problem["type"] == "missing":
            yield f"{field} is missing"
        else:
            yield f"{field}: {problem['msg'].removeprefix('Value error, ')}"


def _names(path: tuple[int | str, ...]) -> list[str]:
    sections: dict[str, type[BaseModel]] = {
        "warehouse": WarehouseSettings,
        "bigquery": BigQuerySettings,
        "powerbi": PowerBiSettings,
    }
    fields = (sections[str(path[0])] if path else Settings).model_fields
    return [str(field.validation_alias or name) for name, field in fields.items() if name != "kind"]
