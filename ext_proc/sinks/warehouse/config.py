"""What the local warehouse must be told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class WarehouseTarget(BaseModel):
    """Configuration of the local warehouse.

    Attributes:
        dir: Its folder; made if missing.
        commit_s: How long a row waits for others before its file is written. A commit costs some
            milliseconds and a file: one a second keeps the newest rows a second behind the journal at
            the price of files that compaction soon merges.
        compact_files: So many small files of one hour are merged into one, while the hour goes on.
        keep_days: Hours older than this are removed.
        keep_bytes: Above this the oldest hours are removed.
        min_free_bytes: With less than this free on its disk nothing is written: the warehouse waits,
            and its status says so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["warehouse"] = "warehouse"
    dir: Path
    commit_s: Annotated[float, Field(gt=0, le=60)] = 1.0
    compact_files: Annotated[int, Field(ge=2)] = 60
    keep_days: Annotated[float, Field(gt=0)] = 30.0
    keep_bytes: Annotated[int, Field(gt=0)] = 50 << 30
    min_free_bytes: Annotated[int, Field(ge=0)] = 1 << 30
