"""What a control plane must be told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from wire.ids import InvalidIdError, check_dns_label

MAX_SHARDS: Final = 64

Port = Annotated[int, Field(ge=0, le=65_535)]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HostConfig(_Value):
    """A hypervisor host that sensors may have their VM on."""

    id: str
    kind: Literal["lab"] = "lab"
    url: Annotated[str, Field(pattern=r"^https?://")]

    @field_validator("id")
    @classmethod
    def _id(cls, value: str) -> str:
        try:
            return check_dns_label("id", value)
        except InvalidIdError as error:
            raise ValueError(str(error)) from error


class ControlPlaneConfig(_Value):
    """Configuration of one control plane.

    Attributes:
        nats_url: `nats://host:port`, or several with commas.
        state_dir: Holds control.db (SQLite), and preflight.json: what passed the pre-flight check.
        token_file: Where the operator's bearer token is written at first start, mode 0600.
        api_host: Address of the API.
        api_port: Its port; 0: chosen by the system.
        xds_host: Address of the ADS server.
        xds_port: Its port; 0: chosen by the system.
        shards: How many slices the fleet has. Fixed at installation.
        hosts: Hypervisor hosts, written to the desired state at start.
        worker_grace_s: A worker that is away for less keeps its shards.
        rebalance_after_s: A worker that has been connected for so long, with its
            Envoy, may be given shards that others hold, one at a time.
        preflight: Have this machine's Envoy (envoy_bootstrap.binary) check changed clusters, listeners
            and routes before any node is given them.
        replica: Name of this control plane among several over the same NATS, of which one leads, a
            DNS label; None: there is one. Replicas have equal `shards` and `hosts`.
        advertise: What /v1/status shows under `urls`. Of a replica, `api_url` and `xds_address` are
            what it tells of itself to those who look for the leader; by default where it listens.
    """

    nats_url: Annotated[str, Field(min_length=1)]
    state_dir: Path
    token_file: Path
    api_host: str = "127.0.0.1"
    api_port: Port = 0
    xds_host: str = "127.0.0.1"
    xds_port: Port = 0
    shards: Annotated[int, Field(ge=1, le=MAX_SHARDS)] = 2
    hosts: tuple[HostConfig, ...] = ()
    worker_grace_s: Annotated[float, Field(gt=0)] = 10.0
    rebalance_after_s: Annotated[float, Field(gt=0)] = 30.0
    preflight: bool = True
    replica: str | None = None
    advertise: dict[str, str] = Field(default_factory=dict)

    @field_validator("hosts")
    @classmethod
    def _hosts(cls, hosts: tuple[HostConfig, ...]) -> tuple[HostConfig, ...]:
        ids = [host.id for host in hosts]
        twice = sorted({each for each in ids if ids.count(each) > 1})
        if twice:
            raise ValueError(f"each host must have an id of its own; twice: {', '.join(twice)}")
        return hosts

    @field_validator("replica")
    @classmethod
    def _replica(cls, value: str | None) -> str | None:
        try:
            return None if value is None else check_dns_label("replica", value)
        except InvalidIdError as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _ports_of_a_replica(self) -> Self:
        if self.replica is not None and self.xds_port == 0:
            raise ValueError(
                "xds_port of a replica must not be 0: Envoys must know it before this replica listens"
            )
        return self
