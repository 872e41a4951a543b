"""What an Envoy is started with: who it is, where its control plane is, where its worker is. Pure.

Everything else comes over ADS. Plain JSON, so that starting an Envoy needs no
protobuf: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/bootstrap/v3/bootstrap.proto
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from wire.ids import InvalidIdError, check_dns_label
from wire.names import ENVOY_ROLE, EXT_PROC_CLUSTER, GATEWAY_PORT_METADATA, XDS_CLUSTER

_UNIX_PATH_BYTES: Final = 107  # what sockaddr_un holds
_WINDOW_BYTES: Final = 65_536  # a stalled stream buffers a window, not the default of 256 MB
_BREAKER: Final = 100_000  # the default of 1,024 fails a fleet that opens its streams at once
_MAX_CONNECTIONS: Final = 50_000
_PING_S: Final = 10
# A control plane that hangs is left before its successor, which begins after 6 s, has waited 10 s for nodes.
_XDS_PING_S: Final = 5
# After a control plane was away: Envoy's default pauses for up to 30 s.
_XDS_RETRY: Final = {"retry_back_off": {"base_interval": "0.25s", "max_interval": "2s"}}
_API_TYPES: Final = {"delta": "DELTA_GRPC", "sotw": "GRPC"}
_PROTOCOL_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_CONNECTIONS_MONITOR: Final = "envoy.resource_monitors.global_downstream_max_connections"

Port = Annotated[int, Field(ge=0, le=65_535)]


class BootstrapConfig(BaseModel):
    """What one Envoy must be told.

    Attributes:
        node_id: This Envoy among all, a DNS label.
        xds_host: The ADS server's IP address, or a name that DNS knows.
        xds_port: The ADS server's port.
        xds_others: Where the ADS server may be else, `host:port` each: those of other replicas
            of the control plane. Envoy goes on to the next one when one does not answer.
        xds_variant: How the ADS server is spoken to: `delta` (what changes) or
            `sotw` (state of the world).
        ext_proc_socket: Path of the Unix socket of the worker beside this Envoy.
        admin_port: The admin interface's port on 127.0.0.1; 0: chosen by the
            system and written to the file of `--admin-address-path`.
        gateway_port: The gateway listener's port on 127.0.0.1; 0: chosen by the
            system, to be asked of the admin interface.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    node_id: str
    xds_host: Annotated[str, Field(min_length=1)]
    xds_port: Annotated[int, Field(ge=1, le=65_535)]
    xds_others: tuple[Annotated[str, Field(pattern=r"^.+:\d+$")], ...] = ()
    xds_variant: Literal["delta", "sotw"] = "delta"
    ext_proc_socket: Annotated[str, Field(min_length=1)]
    admin_port: Port = 0
    gateway_port: Port = 0

    @field_validator("node_id")
    @classmethod
    def _node_id(cls, value: str) -> str:
        try:
            return check_dns_label("node_id", value)
        except InvalidIdError as error:
            raise ValueError(str(error)) from error

    @field_validator("xds_others")
    @classmethod
    def _xds_others(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            if not 1 <= _split(address)[1] <= 65_535:
                raise ValueError(f"the port of {address} must be 1 to 65535")
        return value

    @property
    def xds_addresses(self) -> tuple[tuple[str, int], ...]:
        """Every (host, port) where the ADS server may be."""
        return ((self.xds_host, self.xds_port), *map(_split, self.xds_others))

    @field_validator("ext_proc_socket")
    @classmethod
    def _ext_proc_socket(cls, value: str) -> str:
        if len(value.encode()) > _UNIX_PATH_BYTES:
            raise ValueError(f"a Unix socket's path must be at most {_UNIX_PATH_BYTES} bytes")
        return value


def build_bootstrap(config: BootstrapConfig) -> str:
    """Return Envoy's bootstrap configuration as JSON."""
    bootstrap = {
        "node": {
            "id": config.node_id,
            "cluster": ENVOY_ROLE,
            "metadata": {GATEWAY_PORT_METADATA: config.gateway_port},
        },
        "admin": {"address": _address("127.0.0.1", config.admin_port)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": _API_TYPES[config.xds_variant],
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER, "retry_policy": _XDS_RETRY}}],
                "set_node_on_first_message_only": True,
            },
            "cds_config": _over_ads(),
            "lds_config": _over_ads(),
        },
        "static_resources": {
            "clusters": [
                _cluster(
                    XDS_CLUSTER,
                    _discovery(host for host, _ in config.xds_addresses),
                    [_address(host, port) for host, port in config.xds_addresses],
                    ping_s=_XDS_PING_S,
                ),
                _cluster(EXT_PROC_CLUSTER, "STATIC", [{"pipe": {"path": config.ext_proc_socket}}]),
            ]
        },
        "overload_manager": _overload_manager(),
    }
    return json.dumps(bootstrap, indent=2) + "\n"


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _over_ads() -> dict[str, Any]:
    # Without a timeout Envoy waits for its configuration: an empty gateway would look healthy.
    return {"resource_api_version": "V3", "initial_fetch_timeout": "0s", "ads": {}}


def _split(address: str) -> tuple[str, int]:
    """Return host and port of `host:port`; an IPv6 address may stand in brackets."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _discovery(hosts: Iterable[str]) -> str:
    """Return the kind of a cluster of these hosts. STRICT_DNS takes addresses too."""
    try:
        for host in hosts:
            ipaddress.ip_address(host)
    except ValueError:
        return "STRICT_DNS"
    return "STATIC"


def _cluster(
    name: str, kind: str, addresses: Iterable[dict[str, Any]], ping_s: int = _PING_S
) -> dict[str, Any]:
    """Return an HTTP/2 cluster; a peer that hangs is noticed within twice `ping_s`."""
    http2 = {
        "connection_keepalive": {"interval": f"{ping_s}s", "timeout": f"{ping_s}s"},
        "initial_stream_window_size": _WINDOW_BYTES,
        "max_concurrent_streams": 500,
        # Half a fleet that dies at once must not look like a flood of resets and take the rest along.
        "max_outbound_control_frames": 100_000,
    }
    options = {
        "@type": f"type.googleapis.com/{_PROTOCOL_OPTIONS}",
        "explicit_http_config": {"http2_protocol_options": http2},
    }
    breakers = {"max_connections": _BREAKER, "max_pending_requests": _BREAKER, "max_requests": _BREAKER}
    return {
        "name": name,
        "type": kind,
        "connect_timeout": "2s",
        "typed_extension_protocol_options": {_PROTOCOL_OPTIONS: options},
        "circuit_breakers": {"thresholds": [{**breakers, "track_remaining": True}]},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": each}} for each in addresses]}],
        },
    }


def _overload_manager() -> dict[str, Any]:
    """Return a bound on open connections, so that Envoy refuses before it runs out of files."""
    kind = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    config = {
        "@type": f"type.googleapis.com/{kind}",
        "max_active_downstream_connections": _MAX_CONNECTIONS,
    }
    return {"resource_monitors": [{"name": _CONNECTIONS_MONITOR, "typed_config": config}]}
