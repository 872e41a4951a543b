"""What a sink must be told."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ext_proc.sinks.bigquery.config import BigQueryTarget
from ext_proc.sinks.powerbi.config import PowerBiTarget
from ext_proc.sinks.warehouse.config import WarehouseTarget
from wire.ids import InvalidIdError, check_dns_label

AnyTarget = Annotated[WarehouseTarget | BigQueryTarget | PowerBiTarget, Field(discriminator="kind")]


class SinkConfig(BaseModel):
    """Configuration of one sink: one process, one target, all shards.

    Attributes:
        name: This sink among all, a DNS label. Its cursors are kept under it: another name begins anew.
        nats_url: `nats://host:port`, or several with commas.
        shards: How many shards the installation has.
        target: Where it delivers to; `kind` says which sort.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    nats_url: str
    shards: Annotated[int, Field(ge=1, le=1024)]
    target: AnyTarget

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        try:
            return check_dns_label("name", value)
        except InvalidIdError as error:
            raise ValueError(str(error)) from error
