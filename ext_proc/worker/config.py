"""What a worker must be told."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ext_proc.journal.schedule import Limits
from ext_proc.journal.shard import ShardSettings
from wire.ids import InvalidIdError, check_dns_label


class WorkerConfig(BaseModel):
    """Configuration of one worker.

    Attributes:
        node_id: This worker among all, a DNS label.
        xds_address: The control plane's ADS server, `host:port`, or those of its replicas with commas.
        nats_url: `nats://host:port`, or several with commas.
        gateway_url: The listener of the Envoy beside this worker, `http://host:port`.
        ext_proc_socket: Path of the Unix socket on which that Envoy reaches this worker.
        batch_ms: How long a reading waits for others before it is appended.
        batch_rows: How many readings one record holds at most.
        tick_ms: How long an idle shard says nothing.
        checkpoint_s: How often a shard's fold is saved.
        opens_per_s: How many streams are opened a second at most.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    node_id: str
    xds_address: Annotated[str, Field(pattern=r"^[^,]+:\d+(,[^,]+:\d+)*$")]
    nats_url: str
    gateway_url: Annotated[str, Field(pattern=r"^https?://")]
    ext_proc_socket: Annotated[str, Field(min_length=1, max_length=107)]  # what sockaddr_un holds
    batch_ms: Annotated[int, Field(ge=1, le=1000)] = 40
    batch_rows: Annotated[int, Field(ge=1, le=50_000)] = 20_000
    tick_ms: Annotated[int, Field(ge=50, le=1000)] = 1000  # R6: at least once a second
    checkpoint_s: Annotated[float, Field(gt=0)] = 30.0
    opens_per_s: Annotated[float, Field(gt=0)] = 500.0

    @field_validator("node_id")
    @classmethod
    def _node_id(cls, value: str) -> str:
        try:
            return check_dns_label("node_id", value)
        except InvalidIdError as error:
            raise ValueError(str(error)) from error

    @property
    def xds_addresses(self) -> tuple[str, ...]:
        """Every `host:port` where the ADS server may be."""
        return tuple(self.xds_address.split(","))

    def shard_settings(self) -> ShardSettings:
        """Return how this worker's shards write."""
        limits = Limits(batch_rows=self.batch_rows, batch_ms=self.batch_ms, tick_ms=self.tick_ms)
        return ShardSettings(limits, self.checkpoint_s)
