"""Plans under any order of events: what must hold at every moment, and that everything ends well."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from control_plane.reconcile.plan import Difference
from control_plane.resources.rule import rule_resource
from control_plane.rule_model import Rule, RuleSpec
from control_plane.xds.node import NodeKey
from hyperv.model import Endpoint
from tests.control_plane.sim import Sim
from wire.ids import shard_of
from wire.names import CLUSTER_TYPE, ENVOY_ROLE, RULE_TYPE, WORKER_ROLE, host_cluster

NODES = ("node-1", "node-2", "node-3")
HOSTS = ("lab", "plant")
SHARDS = 4
HOST_OF = {
    "press-1": "lab",
    "press-2": "lab",
    "press-3": "lab",
    "oven-1": "plant",
    "oven-2": "plant",
    "oven-3": "plant",
}
SENSORS = tuple(HOST_OF)
CLUSTERS = tuple(map(host_cluster, HOSTS))
ENVOYS = [NodeKey(ENVOY_ROLE, node_id) for node_id in NODES]
WORKERS = [NodeKey(WORKER_ROLE, node_id) for node_id in NODES]
KEYS = [key for pair in zip(ENVOYS, WORKERS, strict=True) for key in pair]


class Plans(RuleBasedStateMachine):
    """Nodes, hosts, store and people act in any order.

    Held at every moment:
      - what is planned from what changed is what is planned from everything (Sim.step);
      - a worker is told of a sensor at an endpoint only after the Envoy beside it ran that endpoint;
      - it loses no sensor but one that goes, moves, belongs to another worker now, or has the
        address of another one;
      - it loses no shard before the new owner has taken it over, but for one that went to
        a third one meanwhile;
      - an endpoint leaves an Envoy only when no worker may stream from it, its host is no more,
        or another sensor has its address;
      - a VM is removed only then, and when no Envoy that was there all the while has its endpoint.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sim = Sim(NODES, HOSTS, SHARDS)
        self.ran: dict[str, set[tuple[str, str]]] = {node_id: set() for node_id in NODES}
        self.revisions: dict[tuple[str, str], int] = {}  # of a sensor when a worker was told of it
        self.steady: dict[str, set[NodeKey]] = {}  # Envoys with a stream ever since a removal began
        self.opened: set[tuple[int, int]] = set()  # shard and generation of leases that were taken
        self.uprooted: set[str] = set()  # hosts that were not configured at some time
        self.collided: set[str] = set()  # sensors whose address another one had at some time
        self.addresses = 0

    def _address(self) -> Endpoint:
        self.addresses += 1
        return Endpoint(address=f"127.20.0.{self.addresses % 250 + 1}", port=7000 + self.addresses // 250)

    @initialize(nodes=st.integers(0, len(KEYS)))
    def begin(self, nodes: int) -> None:
        """Some nodes are there, and sensors of both hosts are live if they can be."""
        for key in KEYS[:nodes]:
            self.sim.connect(key)
            self.sim.ask_rest(key)
        for name in ("press-1", "press-2", "oven-1"):
            self.sim.add(name, HOST_OF[name])
        self._round(4)

    @rule(rounds=st.integers(1, 3))
    def time_passes(self, rounds: int) -> None:
        """Everybody does what is due."""
        self._round(rounds)

    def _round(self, count: int) -> None:
        for _ in range(count):
            self.sim.step()
            self.sim.write()
            for host in HOSTS:
                self.host_works(host)
            for key in KEYS:
                while self.answer_once(key):
                    pass

    # --- people -----------------------------------------------------------------------------
    @rule(name=st.sampled_from(SENSORS))
    def add(self, name: str) -> None:
        """Add a sensor that is not there."""
        if name not in self.sim.sensors:
            self.sim.add(name, HOST_OF[name])

    @rule(name=st.sampled_from(SENSORS))
    def remove(self, name: str) -> None:
        """Remove one that is."""
        stored = self.sim.sensors.get(name)
        if stored is not None and not stored.record.removing:
            self.sim.remove(name)
            self.steady[name] = {key for key in ENVOYS if self.sim.nodes[key].connection is not None}

    @rule(name=st.sampled_from(("hot", "cold")), for_ms=st.integers(0, 2))
    def set_rule(self, name: str, for_ms: int) -> None:
        """Set a rule, or remove it (0)."""
        self.sim.revision += 1
        self.sim.rules.pop(name, None)
        if for_ms:
            asked = RuleSpec.model_validate({"id": name, "condition": {"kind": "missing", "for_ms": for_ms}})
            self.sim.rules[name] = Rule(asked, self.sim.revision)

    # --- the control plane ------------------------------------------------------------------
    @rule()
    def step(self) -> None:
        """Plan and publish; a plan of the same picture changes nothing."""
        self.sim.step()
        again = self.sim.step().difference
        assert again == Difference(frozenset(), {}, frozenset())

    @rule()
    def write(self) -> None:
        """The store takes what was found out."""
        self.sim.write()

    @rule()
    def restart(self) -> None:
        """A new control plane."""
        self.steady.clear()
        self.sim.restart()

    @rule(node_id=st.sampled_from(NODES))
    def grace_passes(self, node_id: str) -> None:
        """A worker has been away for long, if it is."""
        if self.sim.node(WORKER_ROLE, node_id).connection is None:
            self.sim.recent.discard(node_id)

    @rule(key=st.sampled_from(KEYS))
    def forget(self, key: NodeKey) -> None:
        """A node has been away for so long that it is forgotten, if it owns nothing."""
        if key.node_id not in {lease.owner for lease in self.sim.leases.values()}:
            self.sim.forget(key)

    @rule(node_id=st.sampled_from(NODES), steady=st.booleans())
    def shards_may_move(self, node_id: str, steady: bool) -> None:
        """A worker has been here for long, or has not."""
        (self.sim.steady.add if steady else self.sim.steady.discard)(node_id)

    # --- nodes ------------------------------------------------------------------------------
    @rule(key=st.sampled_from(KEYS))
    def connect(self, key: NodeKey) -> None:
        """A node opens a stream; one that it had is over."""
        self._away(key)
        self.sim.connect(key)

    @rule(key=st.sampled_from(KEYS))
    def ask_rest(self, key: NodeKey) -> None:
        """A node asks for all its types."""
        self.sim.ask_rest(key)

    @rule(key=st.sampled_from(KEYS))
    def disconnect(self, key: NodeKey) -> None:
        """A node's stream ends."""
        self._away(key)
        self.sim.disconnect(key)

    @rule(key=st.sampled_from(KEYS))
    def restart_node(self, key: NodeKey) -> None:
        """An Envoy or a worker comes back knowing nothing."""
        self._away(key)
        self.sim.disconnect(key)
        self.sim.nodes[key].running.clear()
        self.sim.connect(key)

    def _away(self, key: NodeKey) -> None:
        for envoys in self.steady.values():
            envoys.discard(key)

    @rule(key=st.sampled_from(KEYS))
    def answer(self, key: NodeKey) -> None:
        """A node applies one response."""
        self.answer_once(key)

    @rule(key=st.sampled_from(ENVOYS), cluster=st.sampled_from(CLUSTERS))
    def envoy_refuses(self, key: NodeKey, cluster: str) -> None:
        """An Envoy refuses the endpoints of a host, if it was just sent some."""
        if cluster in self.sim.nodes[key].running.get(CLUSTER_TYPE, {}):
            self.answer_once(key, (cluster,))

    @rule(key=st.sampled_from(WORKERS), name=st.sampled_from(SENSORS))
    def worker_refuses(self, key: NodeKey, name: str) -> None:
        """A worker refuses a sensor, if it was just told of it."""
        self.answer_once(key, (name,))

    def answer_once(self, key: NodeKey, refuse: tuple[str, ...] = ()) -> bool:
        """Have a node apply a response, and judge what changed; False if there was none."""
        node = self.sim.nodes[key]
        if key.role == WORKER_ROLE:
            before, held = node.assigned(), node.leases()
            answered = self.sim.answer(key, refuse)
            self._judge_worker(key, before, node.assigned())
            self._judge_leases(key, held, node.leases())
        else:
            before = node.endpoints()
            answered = self.sim.answer(key, refuse)
            after = node.endpoints()
            self.ran[key.node_id].update(after.items())
            for name in before.keys() - after.keys():
                if HOST_OF[name] not in self.uprooted and name not in self.collided:
                    assert not self.sim.may_stream(name), f"{key} loses {name} under a stream"
        return answered

    def _judge_worker(self, key: NodeKey, before: dict[str, str], after: dict[str, str]) -> None:
        for told in after.items() - before.items():
            assert told in self.ran[key.node_id], f"{key} is told of {told} before its Envoy"
        for name in before.keys() - after.keys():
            stored = self.sim.sensors.get(name)
            lease = self.sim.leases.get(shard_of(name, SHARDS))
            endpoint = self.sim.endpoints.get(name)
            stays = (
                stored is not None
                and name not in self.collided
                and stored.revision == self.revisions.get((key.node_id, name))
                and not stored.record.removing
                and lease is not None
                and lease.owner == key.node_id
                and endpoint is not None
                and endpoint.version == before[name]
            )
            assert not stays, f"{key} loses {name} for no reason"
        for name in after:
            if name not in before and name in self.sim.sensors:
                self.revisions[key.node_id, name] = self.sim.sensors[name].revision

    def _judge_leases(self, key: NodeKey, before: dict[int, int], after: dict[int, int]) -> None:
        self.opened.update(after.items())
        for shard in before.keys() - after.keys():
            lease = self.sim.leases[shard]
            taken = (shard, lease.generation) in self.opened
            outdated = before[shard] < lease.generation - 1
            assert lease.owner == key.node_id or taken or outdated, f"{key} loses shard {shard} to nobody yet"

    # --- hosts ------------------------------------------------------------------------------
    @rule(host=st.sampled_from(HOSTS))
    def host_works(self, host: str) -> None:
        """A host answers, and does one thing that it is asked for."""
        if self.sim.plan is None or host not in self.sim.hosts or host not in self.sim.plan.wishes:
            return
        removed = self.sim.do_host_work(self._address(), host)
        if removed is not None:
            assert not self.sim.may_stream(removed), f"the VM of {removed} goes under a stream"
            for key in self.steady.get(removed, set()):
                assert removed not in self.sim.nodes[key].endpoints(), f"{key} has {removed}, its VM goes"

    @rule(name=st.sampled_from(SENSORS))
    def move(self, name: str) -> None:
        """A VM serves elsewhere."""
        self._move(name, self._address())

    @rule(name=st.sampled_from(SENSORS), other=st.sampled_from(SENSORS))
    def collide(self, name: str, other: str) -> None:
        """A VM serves where another one of its host is known to be."""
        endpoint = self.sim.endpoints.get(other)
        if endpoint is not None and name != other and HOST_OF[name] == HOST_OF[other]:
            self.collided |= {name, other}
            self._move(name, endpoint)

    def _move(self, name: str, endpoint: Endpoint) -> None:
        host = HOST_OF[name]
        if host in self.sim.hosts and name in self.sim.vms[host]:
            self.sim.move(name, endpoint, host)

    @rule(host=st.sampled_from(HOSTS))
    def host_goes(self, host: str) -> None:
        """A host is configured no more."""
        if host in self.sim.hosts:
            self.uprooted.add(host)
            self.sim.host_goes(host)

    @rule(host=st.sampled_from(HOSTS))
    def host_comes(self, host: str) -> None:
        """A host is configured, or in another way than before: nothing was heard of it yet."""
        self.sim.host_comes(host)

    # --- the end ----------------------------------------------------------------------------
    def teardown(self) -> None:
        """With everybody there and answering, everything becomes as it is wanted."""
        sim = self.sim
        for key in KEYS:
            if sim.nodes[key].connection is None:
                sim.connect(key)
            sim.ask_rest(key)
        for host in HOSTS:
            if host not in sim.hosts:
                sim.host_comes(host)
        self._round(15)
        self._nothing_is_as_it_was_refused()
        self._round(15)
        assert not [name for name, each in sim.sensors.items() if each.record.removing], "removals end"
        for name in sim.sensors:
            endpoint = sim.vms[HOST_OF[name]][name].endpoint
            assert endpoint is not None
            owner = sim.leases[shard_of(name, SHARDS)].owner
            for node_id in NODES:
                assert sim.node(ENVOY_ROLE, node_id).endpoints().get(name) == endpoint.version
                told = sim.node(WORKER_ROLE, node_id).assigned().get(name)
                assert told == (endpoint.version if node_id == owner else None)
        for node_id in NODES:
            rules = sim.node(WORKER_ROLE, node_id).running.get(RULE_TYPE, {})
            wanted = {name: rule_resource(each).version for name, each in sim.rules.items()}
            assert {name: version for name, (version, _) in rules.items()} == wanted
        super().teardown()

    def _nothing_is_as_it_was_refused(self) -> None:
        """Every sensor moves, and every host has one: what was refused has changed."""
        for name, host in HOST_OF.items():
            if name not in self.sim.sensors:
                self.sim.add(name, host)
        self._round(2)
        for name in HOST_OF:
            self._move(name, self._address())


Plans.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestPlans = Plans.TestCase
