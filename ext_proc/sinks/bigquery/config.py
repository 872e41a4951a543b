"""Where in BigQuery, and what."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PROJECT_PATTERN = r"^[a-z0-9.:-]+$"  # also `domain.com:project`
DATASET_PATTERN = r"^[A-Za-z0-9_]{1,1024}$"


class BigQueryTarget(BaseModel):
    """A BigQuery dataset to deliver to. It must exist; its tables are made by the sink.

    Attributes:
        project: The Google Cloud project that holds the dataset.
        dataset: The dataset.
        readings: Whether single readings are delivered beside windows. By far the larger table.
        window_sizes_ms: Which windows are delivered; others are left out.
        rest_endpoint: Another BigQuery REST service, `http://host:port`: an emulator. It is asked
            without credentials.
        grpc_endpoint: Another Storage Write service, `host:port`: an emulator. It is reached
            without encryption and without credentials. Both or none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["bigquery"] = "bigquery"
    project: Annotated[str, Field(pattern=PROJECT_PATTERN)]
    dataset: Annotated[str, Field(pattern=DATASET_PATTERN)]
    readings: bool = False
    window_sizes_ms: tuple[Annotated[int, Field(gt=0)], ...] = (60_000,)
    rest_endpoint: Annotated[str, Field(pattern=r"^https?://")] | None = None
    grpc_endpoint: Annotated[str, Field(pattern=r"^[^/]+:\d+$")] | None = None

    @model_validator(mode="after")
    def _both_endpoints(self) -> BigQueryTarget:
        if (self.rest_endpoint is None) != (self.grpc_endpoint is None):
            raise ValueError("rest_endpoint and grpc_endpoint: name both (an emulator) or none")
        if not self.readings and not self.window_sizes_ms:
            raise ValueError("nothing to deliver: readings is false and window_sizes_ms is empty")
        return self
