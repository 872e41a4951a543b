"""A small world for plans: real engine and ADS cache; nodes, hosts and the store are simulated.

Every node answers when the test says so, so that any order of events can be tried.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from prometheus_client import CollectorRegistry

from control_plane.model import SensorSpec
from control_plane.reconcile.engine import Engine
from control_plane.reconcile.metrics import ReconcileMetrics
from control_plane.reconcile.nodes import NodePictures
from control_plane.reconcile.plan import Plan, make_plan
from control_plane.reconcile.roster import Changed
from control_plane.reconcile.world import HostState, Memory, WorkerState
from control_plane.resources.model import Resource, new_resource
from control_plane.resources.worker import WindowPolicy
from control_plane.rule_model import Rule
from control_plane.store.records import Lease, Sensor, SensorRecord
from control_plane.xds.cache import Connection, News, SnapshotCache
from control_plane.xds.node import Node, NodeKey
from control_plane.xds.session import Request, Response
from hyperv.model import Endpoint, VmState
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.names import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    ENVOY_ROLE,
    LEASE_TYPE,
    LISTENER_TYPE,
    POLICY_TYPE,
    ROUTE_TYPE,
    RULE_TYPE,
    SENSOR_TYPE,
    WORKER_ROLE,
    host_cluster,
)

SHARDS = 2
HOST = "lab"


def spec(sensor_id: str, host: str = HOST) -> SensorSpec:
    """Return what is asked for of a sensor."""
    return SensorSpec.model_validate(
        {
            "id": sensor_id,
            "host": host,
            "site": "hall-3",
            "metrics": [{"name": "memory_used", "unit": "%"}],
            "source": {"kind": "machine"},
        }
    )


def sensor(sensor_id: str, *, removing: bool = False, revision: int = 1, host: str = HOST) -> Sensor:
    """Return a sensor as it is stored."""
    return Sensor.of(SensorRecord(spec=spec(sensor_id, host), created_unix_ns=0, removing=removing), revision)


def running_vm(stored: Sensor, endpoint: Endpoint) -> VmState:
    """Return the state of a sensor's VM that serves at `endpoint`."""
    sensor_id = stored.record.spec.id
    return VmState(
        vm_id=f"vm-{sensor_id}",
        sensor_id=sensor_id,
        spec_hash=stored.vm_hash,
        state="running",
        endpoint=endpoint,
    )


class JsonParts:
    """Envoy's resources, such that its endpoints can be read in a test."""

    def cluster(self, host_id: str) -> Resource:
        """Return a cluster."""
        name = host_cluster(host_id)
        return new_resource(CLUSTER_TYPE, name, name.encode(), ((ENDPOINT_TYPE, name),))

    def endpoints(self, host_id: str, placed: Mapping[str, Endpoint]) -> Resource:
        """Return endpoints as JSON: {sensor: endpoint version}."""
        versions = {key: each.version for key, each in sorted(placed.items())}
        return new_resource(ENDPOINT_TYPE, host_cluster(host_id), json.dumps(versions).encode())

    def listener(self, gateway_port: int) -> Resource:
        """Return a listener; no node here asks for it."""
        return new_resource(LISTENER_TYPE, "gateway", str(gateway_port).encode())

    def routes(self) -> Resource:
        """Return routes; no node here asks for them."""
        return new_resource(ROUTE_TYPE, "gateway", b"")


@dataclass
class SimNode:
    """An Envoy or a worker: what it runs outlives its streams."""

    key: NodeKey
    running: dict[str, dict[str, tuple[str, bytes]]] = field(
        default_factory=dict
    )  # type, name: version, body
    connection: Connection | None = None
    inbox: deque[Response] = field(default_factory=deque)

    @property
    def types(self) -> tuple[str, ...]:
        """What it asks for, in this order."""
        return (
            (CLUSTER_TYPE, ENDPOINT_TYPE)
            if self.key.role == ENVOY_ROLE
            else (POLICY_TYPE, RULE_TYPE, LEASE_TYPE, SENSOR_TYPE)
        )

    def endpoints(self) -> dict[str, str]:
        """Return what an Envoy runs: {sensor: endpoint version}."""
        return {
            sensor_id: version
            for _, body in self.running.get(ENDPOINT_TYPE, {}).values()
            for sensor_id, version in json.loads(body).items()
        }

    def leases(self) -> dict[int, int]:
        """Return the leases that a worker runs: {shard: generation}."""
        bodies = (body for _, body in self.running.get(LEASE_TYPE, {}).values())
        return {each.shard: each.lease_generation for each in map(config_pb2.ShardLease.FromString, bodies)}

    def assigned(self) -> dict[str, str]:
        """Return what a worker runs: {sensor: endpoint version}."""
        bodies = (body for _, body in self.running.get(SENSOR_TYPE, {}).values())
        messages = map(config_pb2.SensorAssignment.FromString, bodies)
        return {message.sensor_id: message.endpoint_version for message in messages}


class Sim:
    """Everything; `restart` is a new control plane over the same store."""

    def __init__(self, node_ids: Iterable[str], hosts: Iterable[str] = (HOST,), shards: int = SHARDS) -> None:
        self.sensors: dict[str, Sensor] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.leases: dict[int, Lease] = {}
        self.policy = WindowPolicy()
        self.rules: dict[str, Rule] = {}
        self.hosts = {host: HostState(reachable=True) for host in hosts}  # as far as they were heard of
        self.vms: dict[str, dict[str, VmState]] = {host: {} for host in self.hosts}  # as they are
        self.shards = shards
        self.recent: set[str] = set()
        self.steady: set[str] = set()
        self.revision = 0
        self.nodes = {
            NodeKey(role, node_id): SimNode(NodeKey(role, node_id))
            for node_id in node_ids
            for role in (ENVOY_ROLE, WORKER_ROLE)
        }
        self.restart()

    def restart(self) -> None:
        """Have a new control plane: every stream ends, nothing is remembered but the store."""
        for node in self.nodes.values():
            node.connection = None
            node.inbox.clear()
        self.cache = SnapshotCache()
        self.metrics = ReconcileMetrics(CollectorRegistry())
        self.engine = Engine(self, self.cache, JsonParts(), self.metrics, shards=self.shards)
        self.changed: tuple[set[str], set[int]] = set(), set()
        self.memory = Memory()
        self.recent |= {lease.owner for lease in self.leases.values()}
        self.plan: Plan | None = None
        self.step()

    # --- nodes ------------------------------------------------------------------------------
    def connect(self, key: NodeKey) -> None:
        """Open a stream; only the first type is asked for yet, as on a real one."""
        node = self.nodes[key]
        node.inbox.clear()
        node.connection = self.cache.connect(Node(key, {}), 1)
        if key.role == WORKER_ROLE:
            self.recent.add(key.node_id)
        self._ask(node, node.types[0])

    def ask_rest(self, key: NodeKey) -> None:
        """Ask for the remaining types."""
        node = self.nodes[key]
        if node.connection is not None:
            for type_url in node.types[1:]:
                if type_url not in node.connection.session.status():
                    self._ask(node, type_url)

    def forget(self, key: NodeKey) -> None:
        """Have the control plane drop a node that is away, as it does after an hour."""
        if self.nodes[key].connection is None:
            self.engine.forget(key)

    def disconnect(self, key: NodeKey) -> None:
        """End the stream."""
        node = self.nodes[key]
        if node.connection is not None:
            self.cache.disconnect(node.connection)
            node.connection = None
            node.inbox.clear()

    def answer(self, key: NodeKey, refuse: Collection[str] = ()) -> bool:
        """Have a node apply the oldest response that it was sent, and say so; False if there is none.

        What is put of the names in `refuse` it refuses, and takes the rest.
        """
        node = self.nodes[key]
        if node.connection is None:
            return False
        node.inbox.extend(self.cache.take(node.connection))
        if not node.inbox:
            return False
        response = node.inbox.popleft()
        running = node.running.setdefault(response.type_url, {})
        for name in response.removed:
            running.pop(name, None)
        refused = [resource.name for resource in response.put if resource.name in refuse]
        for resource in response.put:
            if resource.name not in refused:
                running[resource.name] = resource.version, resource.body
        error = "; ".join(f"{name}: is no good" for name in refused) or None
        self.cache.receive(node.connection, Request(response.type_url, nonce=response.nonce, error=error))
        if response.type_url == CLUSTER_TYPE:
            self._ask_for_endpoints(node, response)
        return True

    def _ask_for_endpoints(self, node: SimNode, clusters: Response) -> None:
        """Have an Envoy ask for what its new clusters need, and for nothing of those that went."""
        assert node.connection is not None
        for name in clusters.removed:
            node.running.get(ENDPOINT_TYPE, {}).pop(name, None)
        if ENDPOINT_TYPE not in node.connection.session.status():
            self._ask(node, ENDPOINT_TYPE)
            return
        came = tuple(each.name for each in clusters.put)
        self.cache.receive(
            node.connection, Request(ENDPOINT_TYPE, subscribe=came, unsubscribe=tuple(clusters.removed))
        )

    def _ask(self, node: SimNode, type_url: str) -> None:
        assert node.connection is not None
        has = {name: version for name, (version, _) in node.running.get(type_url, {}).items()}
        # Endpoints are asked for by name: those of the clusters that Envoy has.
        wanted = ("*",) if type_url != ENDPOINT_TYPE else tuple(node.running.get(CLUSTER_TYPE, {}))
        self.cache.receive(node.connection, Request(type_url, subscribe=wanted, has=has))

    # --- hosts ------------------------------------------------------------------------------
    def do_host_work(self, next_endpoint: Endpoint, host: str = HOST) -> str | None:
        """Have a host say what it has, and do one thing that the plan asks of it.

        Returns the sensor whose VM was removed, if one was.
        """
        assert self.plan is not None
        wish, state, vms = self.plan.wishes[host], self.hosts[host], self.vms[host]
        removed = next(iter(sorted(wish.remove - state.removed)), None)
        if removed is not None:
            vms.pop(removed, None)
            state = replace(state, removed=state.removed | {removed})
        else:
            missing = next((each for each in wish.ensure if each not in vms), None)
            if missing is not None:
                vms[missing] = running_vm(wish.ensure[missing], next_endpoint)
        self.hosts[host] = replace(state, reachable=True, vms=dict(vms))
        return removed

    def move(self, sensor_id: str, endpoint: Endpoint, host: str = HOST) -> None:
        """Have a VM serve elsewhere, and its host say so."""
        vms = self.vms[host]
        vms[sensor_id] = vms[sensor_id].model_copy(update={"endpoint": endpoint})
        self.hosts[host] = replace(self.hosts[host], vms=dict(vms))

    def host_goes(self, host: str) -> None:
        """Have a host be configured no more; its VMs stay."""
        del self.hosts[host]

    def host_comes(self, host: str) -> None:
        """Have a host be configured (again, or in another way); nothing was heard of it yet."""
        self.hosts[host] = HostState()

    # --- the control plane ------------------------------------------------------------------
    def take_changes(self) -> tuple[set[str], set[int]]:
        """See control_plane.reconcile.engine.Desired."""
        changed, self.changed = self.changed, (set(), set())
        return changed

    def step(self) -> Plan:
        """Make a plan from what changed and publish it; a plan of everything must be the same plan."""
        before = replace(self.memory, assigned=dict(self.memory.assigned))
        self.engine.look(self.hosts)
        plan = self.engine.step(frozenset(self.recent), frozenset(self.steady & self.recent))
        assert self.engine.world is not None
        self._check_pictures()
        anew = make_plan(self.engine.world, before)
        # Publishing may have made known what a version holds: then the picture is newer than the plan.
        assert self.engine.due or replace(plan, difference=anew.difference) == anew
        self.plan, self.memory = plan, plan.memory
        for host, state in self.hosts.items():
            removed = state.removed & plan.wishes[host].remove
            if removed != state.removed:
                self.hosts[host] = replace(state, removed=removed)
        return plan

    def _check_pictures(self) -> None:
        """What was kept up to date of the nodes must be what is seen of them when everything is looked at."""
        kept = self.engine.nodes
        anew = NodePictures(self.cache, kept.versions)
        anew.update(dict.fromkeys(kept.keys(), News(streams=True)), self.hosts.keys(), Changed())
        assert kept.envoys == anew.envoys
        assert _without_clear(kept.workers) == _without_clear(anew.workers)

    def write(self) -> None:
        """Write down what the last plan found out."""
        assert self.plan is not None
        for claim in self.plan.claims:
            lease = self.leases.get(claim.shard)
            if (0 if lease is None else lease.revision) == claim.last:
                self.revision += 1
                self.leases[claim.shard] = Lease(claim.owner, claim.generation, self.revision)
                self.changed[1].add(claim.shard)
        self.endpoints.update((key, each) for key, each in self.plan.learnt.items() if key in self.sensors)
        self.changed[0].update(self.plan.learnt, self.plan.forget)
        for sensor_id in self.plan.forget:
            self.endpoints.pop(sensor_id, None)
            self.sensors.pop(sensor_id, None)

    def add(self, sensor_id: str, host: str = HOST) -> None:
        """Ask for a sensor."""
        self.revision += 1
        self.sensors[sensor_id] = sensor(sensor_id, revision=self.revision, host=host)
        self.changed[0].add(sensor_id)

    def remove(self, sensor_id: str) -> None:
        """Ask for a sensor to go."""
        self.revision += 1
        host = self.sensors[sensor_id].record.spec.host
        self.sensors[sensor_id] = sensor(sensor_id, removing=True, revision=self.revision, host=host)
        self.changed[0].add(sensor_id)

    # --- judging ----------------------------------------------------------------------------
    def node(self, role: str, node_id: str) -> SimNode:
        """Return a node."""
        return self.nodes[NodeKey(role, node_id)]

    def may_stream(self, sensor_id: str) -> list[str]:
        """Return the workers that run a sensor, but for those that lost its shard while they were away."""
        owners = {lease.owner for lease in self.leases.values()}
        return [
            node.key.node_id
            for node in self.nodes.values()
            if node.key.role == WORKER_ROLE
            and sensor_id in node.assigned()
            and (node.connection is not None or node.key.node_id in owners)
        ]


def _without_clear(workers: Mapping[str, WorkerState]) -> dict[str, WorkerState]:
    """Return workers without what asks the cache anew each time."""
    return {node_id: replace(each, clear=frozenset()) for node_id, each in workers.items()}
