"""What the control plane sends a worker, decoded and checked. Pure.

A resource that breaks a rule is refused with a sentence (a NACK carries it);
the others of the same response are taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from google.protobuf.message import DecodeError

from ext_proc.follower.assignment import Assignment
from ext_proc.rules.rule import RuleError, check_rule
from ext_proc.session.model import SensorProfile, TimeBounds
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.ids import InvalidIdError, check_dns_label, check_metric, check_unit
from wire.names import DEFAULT_POLICY, LEASE_TYPE, POLICY_TYPE, RULE_TYPE, SENSOR_TYPE

# In this order they are asked for: a shard is opened with its policy and its rules.
WORKER_TYPES: Final = (POLICY_TYPE, RULE_TYPE, LEASE_TYPE, SENSOR_TYPE)
_MS: Final = 1_000_000
_MAX_SIZE_MS: Final = 24 * 3_600_000


class ResourceError(ValueError):
    """A resource breaks a rule; the text names the resource, the field and the rule."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A shard to own."""

    shard: int
    lease_generation: int


Resource = Assignment | Lease | config_pb2.WindowPolicy | config_pb2.Rule


def decode_resource(type_url: str, name: str, body: bytes) -> Resource:
    """Return a resource of one of WORKER_TYPES. Raises ResourceError."""
    try:
        if type_url == SENSOR_TYPE:
            return _assignment(name, config_pb2.SensorAssignment.FromString(body))
        if type_url == LEASE_TYPE:
            return _lease(name, config_pb2.ShardLease.FromString(body))
        if type_url == POLICY_TYPE:
            return _policy(name, config_pb2.WindowPolicy.FromString(body))
        if type_url == RULE_TYPE:
            return _rule(name, config_pb2.Rule.FromString(body))
    except DecodeError as error:
        raise ResourceError(f"{name}: not a {type_url.rpartition('.')[2]} message") from error
    except (InvalidIdError, RuleError) as error:
        raise ResourceError(f"{name}: {error}") from error
    raise ResourceError(f"{name}: a worker takes no {type_url}")


def _require(holds: bool, name: str, rule: str) -> None:
    if not holds:
        raise ResourceError(f"{name}: {rule}")


def _assignment(name: str, message: config_pb2.SensorAssignment) -> Assignment:
    check_dns_label("sensor_id", message.sensor_id)
    _require(message.sensor_id == name, name, f"sensor_id {message.sensor_id!r} must be the resource's name")
    _require(bool(message.cluster), name, "cluster must not be empty")
    _require(bool(message.endpoint_version), name, "endpoint_version must not be empty")
    _require(bool(message.metrics), name, "metrics must not be empty")
    units: dict[str, str] = {}
    for metric in message.metrics:
        check_metric(metric.name, "metrics.name")
        check_unit(metric.unit, "metrics.unit")
        _require(metric.name not in units, name, f"metrics has {metric.name!r} twice")
        units[metric.name] = metric.unit
    return Assignment(
        profile=SensorProfile(message.sensor_id, message.site, MappingProxyType(units)),
        shard=message.shard,
        cluster=message.cluster,
        endpoint_version=message.endpoint_version,
    )


def _lease(name: str, message: config_pb2.ShardLease) -> Lease:
    _require(name == str(message.shard), name, f"shard {message.shard} must be the resource's name")
    _require(message.lease_generation > 0, name, "lease_generation must be above 0")
    return Lease(message.shard, message.lease_generation)


def _policy(name: str, message: config_pb2.WindowPolicy) -> config_pb2.WindowPolicy:
    _require(name == DEFAULT_POLICY, name, f"the only policy is {DEFAULT_POLICY!r}")
    sizes = [size.size_ms for size in message.sizes]
    _require(bool(sizes), name, "sizes must not be empty")
    _require(len(set(sizes)) == len(sizes), name, "sizes must differ")
    _require(
        all(0 < size <= _MAX_SIZE_MS for size in sizes), name, f"size_ms must be 1 to {_MAX_SIZE_MS} (a day)"
    )
    return message


def _rule(name: str, message: config_pb2.Rule) -> config_pb2.Rule:
    _require(message.id == name, name, f"id {message.id!r} must be the resource's name")
    check_rule(message)
    return message


def time_bounds(policy: config_pb2.WindowPolicy, now_unix_ns: int) -> TimeBounds:
    """Return the event times that `policy` accepts at `now_unix_ns`."""
    return TimeBounds(
        earliest_unix_ns=now_unix_ns - policy.max_past_ms * _MS,
        latest_unix_ns=now_unix_ns + policy.max_future_skew_ms * _MS,
        now_unix_ns=now_unix_ns,
    )
