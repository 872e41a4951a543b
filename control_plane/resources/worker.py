"""A worker's resources: the sensors it streams, the shards it owns, the window policy, the rules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from control_plane.resources.model import Resource, Snapshot, new_resource, new_snapshot
from control_plane.resources.rule import rule_resource
from control_plane.rule_model import Rule
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.names import DEFAULT_POLICY, LEASE_TYPE, POLICY_TYPE, RULE_TYPE, SENSOR_TYPE

WORKER_TYPES: Final = (POLICY_TYPE, RULE_TYPE, LEASE_TYPE, SENSOR_TYPE)
_CACHED_SENSORS: Final = 1 << 17
_CACHED_LEASES: Final = 1 << 10
_CACHED_POLICIES: Final = 1 << 6


@dataclass(frozen=True, slots=True)
class SensorAssignment:
    """One sensor whose stream the worker holds.

    Attributes:
        sensor_id: The sensor, which is also the resource's name.
        site: Where it stands.
        shard: Its shard (wire.ids.shard_of).
        cluster: The Envoy cluster of its host (wire.names.host_cluster).
        endpoint_version: Changes when the VM's address does (hyperv.model.Endpoint.version).
        metrics: Its declared quantities: (name, UCUM unit).
    """

    sensor_id: str
    site: str
    shard: int
    cluster: str
    endpoint_version: str
    metrics: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ShardLease:
    """A shard that the worker owns; the resource's name is the shard in decimal."""

    shard: int
    lease_generation: int


@dataclass(frozen=True, slots=True)
class WindowSize:
    """One size of window, in ms; not journalled means computed and sent live only."""

    size_ms: int
    journalled: bool


@dataclass(frozen=True, slots=True)
class WindowPolicy:
    """How windows are made (gaugeway.config.v1.WindowPolicy); all durations in ms."""

    sizes: tuple[WindowSize, ...] = (
        WindowSize(1_000, journalled=False),
        WindowSize(10_000, journalled=True),
        WindowSize(60_000, journalled=True),
    )
    horizon_ms: int = 60_000
    idle_close_ms: int = 5_000
    max_future_skew_ms: int = 10_000
    max_past_ms: int = 400 * 86_400_000


def worker_snapshot(
    assignments: Iterable[SensorAssignment],
    leases: Iterable[ShardLease],
    policy: WindowPolicy,
    rules: Iterable[Rule] = (),
) -> Snapshot:
    """Return everything that one worker should run.

    Raises InconsistentSnapshotError if a sensor, a shard or a rule occurs twice.
    """
    resources = [policy_resource(policy)]
    resources += [rule_resource(rule) for rule in rules]
    resources += [lease_resource(lease) for lease in leases]
    resources += [assignment_resource(assignment) for assignment in assignments]
    return new_snapshot(resources, WORKER_TYPES)


@lru_cache(_CACHED_SENSORS)
def assignment_resource(assignment: SensorAssignment) -> Resource:
    """Return the resource of one sensor."""
    message = config_pb2.SensorAssignment(
        sensor_id=assignment.sensor_id,
        site=assignment.site,
        shard=assignment.shard,
        cluster=assignment.cluster,
        endpoint_version=assignment.endpoint_version,
        metrics=[config_pb2.Metric(name=name, unit=unit) for name, unit in assignment.metrics],
    )
    return new_resource(SENSOR_TYPE, assignment.sensor_id, message.SerializeToString(deterministic=True))


@lru_cache(_CACHED_LEASES)
def lease_resource(lease: ShardLease) -> Resource:
    """Return the resource of one lease."""
    message = config_pb2.ShardLease(shard=lease.shard, lease_generation=lease.lease_generation)
    return new_resource(LEASE_TYPE, str(lease.shard), message.SerializeToString(deterministic=True))


@lru_cache(_CACHED_POLICIES)
def policy_resource(policy: WindowPolicy) -> Resource:
    """Return the resource of the policy that holds for every sensor."""
    message = config_pb2.WindowPolicy(
        sizes=[
            config_pb2.WindowSize(size_ms=size.size_ms, journalled=size.journalled) for size in policy.sizes
        ],
        horizon_ms=policy.horizon_ms,
        idle_close_ms=policy.idle_close_ms,
        max_future_skew_ms=policy.max_future_skew_ms,
        max_past_ms=policy.max_past_ms,
    )
    return new_resource(POLICY_TYPE, DEFAULT_POLICY, message.SerializeToString(deterministic=True))
