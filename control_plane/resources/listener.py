"""The gateway: the listener that the follower opens its streams through.

Static for a node's life: a change of a listener cuts every stream on it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLog,
    AccessLogFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    OrFilter,
    ResponseFlagFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    ApiVersion,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    HeaderValue,
    Http2ProtocolOptions,
    RuntimeUInt32,
    SocketAddress,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.extensions.access_loggers.grpc.v3 import (
    CommonGrpcAccessLogConfig,
    HttpGrpcAccessLogConfig,
)
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StdoutAccessLog
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    ExternalProcessor,
    ProcessingMode,
    ProcessingModeBodySendMode,
    ProcessingModeHeaderSendMode,
)
from envoy_data_plane.envoy.extensions.filters.http.header_to_metadata.v3 import (
    Config,
    ConfigKeyValuePair,
    ConfigRule,
)
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
    Rds,
)
from envoy_data_plane.google.protobuf import Struct, Value

from control_plane.resources.encoding import FOREVER, over_ads, packed, seconds
from control_plane.resources.model import Resource, new_resource
from wire.names import (
    EXT_PROC_CLUSTER,
    GATEWAY_LISTENER,
    GATEWAY_ROUTES,
    LB_NAMESPACE,
    LEASE_HEADER,
    LISTENER_TYPE,
    ROUTE_TYPE,
    SENSOR_HEADER,
    SUBSET_METADATA_KEY,
    XDS_CLUSTER,
)

LOOPBACK: Final = "127.0.0.1"
_OWN_NAMESPACE: Final = "gaugeway"
_CACHED_PORTS: Final = 1 << 10
_FLUSH_S: Final = 0.25  # how long failures gather before they are told
# Between Envoy and a VM or the worker. `DC`, the follower's own reset, is how streams end.
_FAILURES: Final = ["UF", "UC", "UH", "UO", "URX", "UT", "UR", "UPE", "LR", "NR", "NC", "OM"]
_LOG_FIELDS: Final = {
    "time": "%START_TIME%",
    "sensor": f"%DYNAMIC_METADATA({LB_NAMESPACE}:{SUBSET_METADATA_KEY})%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "upstream": "%UPSTREAM_HOST%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "duration_ms": "%DURATION%",
    "received_bytes": "%UPSTREAM_WIRE_BYTES_RECEIVED%",
}


@lru_cache(_CACHED_PORTS)
def listener_resource(gateway_port: int) -> Resource:
    """Return the gateway on loopback; a `gateway_port` of 0 lets the system choose."""
    address = Address(socket_address=SocketAddress(address=LOOPBACK, port_value=gateway_port))
    manager = Filter(name="envoy.filters.network.http_connection_manager", typed_config=packed(_manager()))
    message = Listener(name=GATEWAY_LISTENER, address=address, filter_chains=[FilterChain(filters=[manager])])
    references = ((ROUTE_TYPE, GATEWAY_ROUTES),)
    return new_resource(LISTENER_TYPE, GATEWAY_LISTENER, bytes(message), references)


def _manager() -> HttpConnectionManager:
    filters = [
        HttpFilter(name="envoy.filters.http.header_to_metadata", typed_config=packed(_identity())),
        HttpFilter(name="envoy.filters.http.ext_proc", typed_config=packed(_ext_proc())),
        HttpFilter(
            name="envoy.filters.http.router", typed_config=packed(Router(suppress_envoy_headers=True))
        ),
    ]
    return HttpConnectionManager(
        stat_prefix=GATEWAY_LISTENER,
        rds=Rds(config_source=over_ads(), route_config_name=GATEWAY_ROUTES),
        http_filters=filters,
        # Also counts upstream data that ext_proc swallows, and fires under back-pressure.
        stream_idle_timeout=FOREVER,
        request_headers_timeout=seconds(10),
        http2_protocol_options=Http2ProtocolOptions(
            max_concurrent_streams=500,
            initial_stream_window_size=65_536,
            # Half a fleet that dies at once must not look like a flood of resets and take the rest along.
            max_outbound_control_frames=100_000,
        ),
        access_log=[_failures_to_stdout(), _failures_to_control_plane()],
        generate_request_id=False,
        use_remote_address=True,
        skip_xff_append=True,
    )


def _identity() -> Config:
    """Return what takes the sensor and the lease from the headers, for the subset and the session."""

    def rule(header: str, namespace: str, key: str) -> ConfigRule:
        pair = ConfigKeyValuePair(metadata_namespace=namespace, key=key)
        return ConfigRule(header=header, on_header_present=pair)

    return Config(
        request_rules=[
            rule(SENSOR_HEADER, LB_NAMESPACE, SUBSET_METADATA_KEY),
            rule(LEASE_HEADER, _OWN_NAMESPACE, "lease"),
        ]
    )


def _ext_proc() -> ExternalProcessor:
    """Return the filter that shows every response body to the worker.

    The gRPC stream is opened when the response's headers come: by then the
    routes have removed the follower's headers, so its metadata is taken from
    where `_identity` put them. The worker answers the headers at once, body
    pieces never (no message timeout applies to FULL_DUPLEX_STREAMED).
    """
    return ExternalProcessor(
        grpc_service=GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=EXT_PROC_CLUSTER),
            initial_metadata=[
                HeaderValue(
                    key=SENSOR_HEADER, value=f"%DYNAMIC_METADATA({LB_NAMESPACE}:{SUBSET_METADATA_KEY})%"
                ),
                HeaderValue(key=LEASE_HEADER, value=f"%DYNAMIC_METADATA({_OWN_NAMESPACE}:lease)%"),
            ],
        ),
        failure_mode_allow=False,
        processing_mode=ProcessingMode(
            request_header_mode=ProcessingModeHeaderSendMode.SKIP,
            response_header_mode=ProcessingModeHeaderSendMode.SEND,
            request_body_mode=ProcessingModeBodySendMode.NONE,
            response_body_mode=ProcessingModeBodySendMode.FULL_DUPLEX_STREAMED,
            request_trailer_mode=ProcessingModeHeaderSendMode.SKIP,
            response_trailer_mode=ProcessingModeHeaderSendMode.SEND,
        ),
        message_timeout=seconds(5),  # the default of 200 ms fails a storm of opens
    )


def _failures_to_stdout() -> AccessLog:
    """Return the log of failures, a JSON object a line on Envoy's stdout."""
    fields = {key: Value(string_value=value) for key, value in sorted(_LOG_FIELDS.items())}
    return AccessLog(
        name="envoy.access_loggers.stdout",
        filter=_failures(),
        typed_config=packed(
            StdoutAccessLog(log_format=SubstitutionFormatString(json_format=Struct(fields=fields)))
        ),
    )


def _failures_to_control_plane() -> AccessLog:
    """Return the log of failures that the control plane shows, beside the ADS stream.

    What fails while the control plane is away is on stdout only: Envoy keeps nothing back.
    """
    service = GrpcService(envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=XDS_CLUSTER))
    common = CommonGrpcAccessLogConfig(
        log_name=GATEWAY_LISTENER,
        grpc_service=service,
        transport_api_version=ApiVersion.V3,
        buffer_flush_interval=seconds(_FLUSH_S),
    )
    return AccessLog(
        name="envoy.access_loggers.http_grpc",
        filter=_failures(),
        typed_config=packed(HttpGrpcAccessLogConfig(common_config=common)),
    )


def _failures() -> AccessLogFilter:
    """Return the filter of streams that failed between Envoy and a VM or the worker.

    A worker that does not take its streams shows in the status alone.
    """
    server_error = ComparisonFilter(
        op=ComparisonFilterOp.GE,
        value=RuntimeUInt32(default_value=500, runtime_key="gaugeway.log_status"),
    )
    return AccessLogFilter(
        or_filter=OrFilter(
            filters=[
                AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=_FAILURES)),
                AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=server_error)),
            ]
        )
    )
