"""What Envoy's access log says of a failed stream, and what it means in words. Pure.

Flags: https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from wire.gen.gaugeway.envoy.v1 import access_log_pb2, core_pb2
from wire.names import LB_NAMESPACE, SUBSET_METADATA_KEY

MAX_TEXT: Final = 300  # characters of a text of Envoy's; what it quotes has no limit of its own
_NS: Final = 1_000_000_000
_ABSURD_NS: Final = 86_400 * _NS  # a clock that is further off than this is not believed

# By the name of its field: a flag as Envoy's logs write it, and what it says.
_FLAGS: Final = {
    "upstream_connection_failure": ("UF", "the connection to its VM failed"),
    "upstream_remote_reset": ("UR", "its VM reset the stream"),
    "upstream_connection_termination": ("UC", "its VM closed the connection before the stream's end"),
    "no_healthy_upstream": ("UH", "Envoy has no endpoint of it"),
    "no_cluster_found": ("NC", "Envoy has no cluster for its host"),
    "no_route_found": ("NR", "Envoy has no route for the stream"),
    "upstream_overflow": ("UO", "a circuit breaker is open: too many connections or requests to its host"),
    "upstream_protocol_error": ("UPE", "its VM did not keep to HTTP"),
    "upstream_request_timeout": ("UT", "its VM did not answer in time"),
    "upstream_max_stream_duration_reached": ("UMSDR", "the stream lasted longer than Envoy lets it"),
    "duration_timeout": ("DT", "the stream lasted longer than Envoy lets it"),
    "dns_resolution_failure": ("DF", "the name of its VM could not be resolved"),
    "failed_local_healthcheck": ("LH", "Envoy's own health check failed"),
    "overload_manager": ("OM", "Envoy is overloaded and refuses streams"),
    "rate_limited": ("RL", "Envoy limits the rate of streams"),
    "rate_limit_service_error": ("RLSE", "Envoy's rate limit service failed"),
    "delay_injected": ("DI", "a delay was injected"),
    "fault_injected": ("FI", "a fault was injected"),
    "invalid_envoy_request_headers": ("IH", "a header of the request is invalid"),
    "downstream_protocol_error": ("DPE", "the worker did not keep to HTTP"),
    "response_from_cache_filter": ("RFCF", "the response came from a cache"),
    "no_filter_config_found": ("NFCF", "Envoy lacks the configuration of a filter"),
    "stream_idle_timeout": ("SI", "nothing came for longer than Envoy waits"),
    "local_reset": ("LR", "Envoy reset the stream"),
    "upstream_retry_limit_exceeded": ("URX", "it was tried as often as Envoy does"),
    "downstream_connection_termination": ("DC", "the worker closed the stream"),
    "downstream_remote_reset": ("DR", "the worker reset the stream"),
}
FLAGS: Final = dict(_FLAGS.values())
_PROCESSOR: Final = "ext_proc"  # what details begin with where the worker's side failed


class UnreadableLogError(ValueError):
    """A message is not what the access log service takes; the text says why."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A stream of a sensor that failed, as an Envoy saw it.

    Attributes:
        node: The Envoy's node id.
        ended_unix_ns: When the stream ended, by the Envoy's clock; by ours if that is a day off.
        heard_unix_ns: When the control plane was told.
        lasted_s: How long it was open.
        reason: Why, in a sentence.
        flags: Envoy's response flags, in their short form.
        details: Envoy's response code details.
        transport_failure: Why the connection failed; empty if it did not.
        cluster: The Envoy cluster of its host; empty if none was found.
        upstream: The address of the VM that was tried; empty if none was.
        status: The HTTP status that the worker was given; None if none was.
    """

    node: str
    ended_unix_ns: int
    heard_unix_ns: int
    lasted_s: float
    reason: str
    flags: tuple[str, ...]
    details: str
    transport_failure: str
    cluster: str
    upstream: str
    status: int | None


def read_message(data: bytes) -> access_log_pb2.StreamAccessLogsMessage:
    """Return a message of a stream. Raises UnreadableLogError."""
    try:
        return access_log_pb2.StreamAccessLogsMessage.FromString(data)
    except DecodeError as error:
        raise UnreadableLogError(f"not a StreamAccessLogsMessage: {error}") from error


def failures(
    message: access_log_pb2.StreamAccessLogsMessage, node: str, now_unix_ns: int
) -> Iterator[tuple[str, Failure]]:
    """Yield each failed stream with its sensor, as dynamic metadata names it; empty if it does not."""
    for entry in message.http_logs.log_entry:
        yield _sensor(entry.common_properties), _failure(entry, node, now_unix_ns)


def explain(flags: tuple[str, ...], status: int | None, details: str, transport_failure: str) -> str:
    """Return why a stream failed, in a sentence."""
    if flags:
        words = ", and ".join(FLAGS[flag] for flag in flags)
    elif details.startswith(_PROCESSOR):
        words = "the worker beside Envoy did not take the stream"
    elif status is not None:
        words = f"its VM answered {status}"
    else:
        words = "Envoy does not say why"
    said = details == "via_upstream" or (flags and details.startswith(_PROCESSOR))
    because = transport_failure or ("" if said else details)
    return f"{words}: {because}" if because else words


def _sensor(common: access_log_pb2.AccessLogCommon) -> str:
    metadata = common.metadata.filter_metadata
    if LB_NAMESPACE not in metadata or SUBSET_METADATA_KEY not in metadata[LB_NAMESPACE].fields:
        return ""
    return metadata[LB_NAMESPACE].fields[SUBSET_METADATA_KEY].string_value


def _failure(entry: access_log_pb2.HttpAccessLogEntry, node: str, now_unix_ns: int) -> Failure:
    common, response = entry.common_properties, entry.response
    lasted_ns = common.duration.seconds * _NS + common.duration.nanos
    ended_ns = common.start_time.seconds * _NS + common.start_time.nanos + lasted_ns
    flags = tuple(
        _FLAGS[field.name][0] for field, _ in common.response_flags.ListFields() if field.name in _FLAGS
    )
    status = response.response_code.value if response.HasField("response_code") else None
    details = _text(response.response_code_details)
    transport_failure = _text(common.upstream_transport_failure_reason)
    return Failure(
        node=node,
        ended_unix_ns=ended_ns if abs(ended_ns - now_unix_ns) < _ABSURD_NS else now_unix_ns,
        heard_unix_ns=now_unix_ns,
        lasted_s=max(lasted_ns, 0) / _NS,
        reason=explain(flags, status, details, transport_failure),
        flags=flags,
        details=details,
        transport_failure=transport_failure,
        cluster=_text(common.upstream_cluster),
        upstream=_address(common.upstream_remote_address),
        status=status or None,
    )


def _text(text: str) -> str:
    """Return a text that can be shown on a terminal: the other side may have had a part in it."""
    return "".join(each if each.isprintable() else "?" for each in text[:MAX_TEXT])


def _address(address: core_pb2.Address) -> str:
    socket = address.socket_address
    return f"{_text(socket.address)}:{socket.port_value}" if socket.address else ""
