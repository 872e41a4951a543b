"""The picture that plans are made from: everything that is wanted and known at one moment. Pure."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from control_plane.resources.worker import SensorAssignment, WindowPolicy
from control_plane.rule_model import Rule
from control_plane.store.records import Lease, Sensor
from hyperv.model import Endpoint, VmState


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a host did not do what was asked of a sensor's VM; `terminal`: it refused."""

    reason: str
    terminal: bool


@dataclass(frozen=True, slots=True)
class HostState:
    """What is known of a host.

    Attributes:
        reachable: Whether it answers; None: it was not asked yet.
        message: Why it does not answer.
        vms: Its VMs by sensor, as it last said.
        removed: Sensors whose VM it was asked to remove, and said it had.
        failures: By sensor, what it did not do.
    """

    reachable: bool | None = None
    message: str = ""
    vms: Mapping[str, VmState] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    failures: Mapping[str, Failure] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EnvoyState:
    """What is known of an Envoy.

    Attributes:
        connected: Whether it has a stream.
        gateway_port: The port that it wants its gateway on; 0: chosen by the system.
        runs: By host, the endpoints that it is known to run; without the hosts
            whose cluster it does not run yet, or runs with endpoints that are not known.
        rejected: By host, why it refused the host's cluster or endpoints.
    """

    connected: bool
    gateway_port: int = 0
    runs: Mapping[str, Mapping[str, Endpoint]] = field(default_factory=dict)
    rejected: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What is known of a worker.

    Attributes:
        connected: Whether it has a stream.
        asked: Whether it has asked for its sensors, and so said which it runs.
        acked: By sensor, the version of the assignment that it is known to run.
        rejected: By sensor, why it refused the assignment, or its end.
        leases: By shard, the version of the lease that it is known to hold.
        rejected_leases: By shard, why it does not hold the lease.
        clear: Sensors that it is known to run nothing of.
    """

    connected: bool
    asked: bool = False
    acked: Mapping[str, str] = field(default_factory=dict)
    rejected: Mapping[str, str] = field(default_factory=dict)
    leases: Mapping[int, str] = field(default_factory=dict)
    rejected_leases: Mapping[int, str] = field(default_factory=dict)
    clear: Container[str] = frozenset()


@dataclass(frozen=True, slots=True)
class World:
    """Everything at one moment.

    Attributes:
        shards: How many there are.
        sensors: What is wanted, by id.
        endpoints: By sensor, where its VM was last known to serve. A sensor
            without one was never given to a worker.
        leases: By shard, as they are written down.
        policy: How windows are made.
        hosts: Every host, by id.
        envoys: By node id.
        workers: By node id.
        recent: Workers that are connected, or were less than the grace ago.
        steady: Workers that have been connected for long, as have their Envoys:
            shards may move to them.
        refused: By (type URL, name), why a resource of the Envoys is held back:
            it did not pass the pre-flight check.
        rules: By id.
    """

    shards: int
    sensors: Mapping[str, Sensor]
    endpoints: Mapping[str, Endpoint]
    leases: Mapping[int, Lease]
    policy: WindowPolicy
    hosts: Mapping[str, HostState]
    envoys: Mapping[str, EnvoyState]
    workers: Mapping[str, WorkerState]
    recent: frozenset[str]
    steady: frozenset[str] = frozenset()
    refused: Mapping[tuple[str, str], str] = field(default_factory=dict)
    rules: Mapping[str, Rule] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assigned:
    """An assignment and the worker that it was made to."""

    worker: str
    assignment: SensorAssignment


@dataclass(frozen=True, slots=True)
class Memory:
    """What one plan hands to the next. All of it can be lost: it is found out again.

    Attributes:
        assigned: By sensor, what its worker was last told.
        released: Sensors on their way out that no worker runs any more.
        drained: Those of them that no Envoy has an endpoint of any more.
        holders: By shard, the lease under which a worker is known to write it.
    """

    assigned: Mapping[str, Assigned] = field(default_factory=dict)
    released: frozenset[str] = frozenset()
    drained: frozenset[str] = frozenset()
    holders: Mapping[int, Lease] = field(default_factory=dict)
