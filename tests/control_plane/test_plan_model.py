"""Plans under any order of events: what must hold at every moment, and that everything ends well."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from control_plane.reconcile.plan import Difference
from control_plane.xds.node import NodeKey
from hyperv.model import Endpoint
from tests.control_plane.sim import HOST, SHARDS, Sim
from wire.ids import shard_of
from wire.names import ENVOY_ROLE, WORKER_ROLE

NODES = ("node-1", "node-2")
SENSORS = ("press-1", "press-2", "press-3")
KEYS = [NodeKey(role, node_id) for node_id in NODES for role in (ENVOY_ROLE, WORKER_ROLE)]


class Plans(RuleBasedStateMachine):
    """Nodes, host, store and people act in any order.

    Held at every moment:
      - a worker is told of a sensor at an endpoint only after the Envoy beside it ran that endpoint;
      - it loses no sensor but one that goes, moves, or belongs to another worker now;
      - it loses no shard before the new owner has taken it over;
      - an endpoint leaves an Envoy only when no worker may stream from it;
      - a VM is removed only then, and when no Envoy that was there all the while has its endpoint.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sim = Sim(NODES)
        self.ran: dict[str, set[tuple[str, str]]] = {node_id: set() for node_id in NODES}
        self.revisions: dict[tuple[str, str], int] = {}  # of a sensor when a worker was told of it
        self.steady: dict[str, set[NodeKey]] = {}  # Envoys with a stream ever since a removal began
        self.opened: set[tuple[int, int]] = set()  # shard and generation of leases that were taken
        self.addresses = 0

    def _address(self) -> Endpoint:
        self.addresses += 1
        return Endpoint(address=f"127.20.0.{self.addresses % 250 + 1}", port=7000 + self.addresses // 250)

    @initialize(nodes=st.integers(0, 4))
    def begin(self, nodes: int) -> None:
        """Some nodes are there, and two sensors are live if they can be."""
        for key in KEYS[:nodes]:
            self.sim.connect(key)
            self.sim.ask_rest(key)
        self.sim.add("press-1")
        self.sim.add("press-2")
        self._round(4)

    @rule(rounds=st.integers(1, 3))
    def time_passes(self, rounds: int) -> None:
        """Everybody does what is due."""
        self._round(rounds)

    def _round(self, count: int) -> None:
        for _ in range(count):
            self.sim.step()
            self.sim.write()
            self._host_works()
            for key in KEYS:
                while self.answer_once(key):
                    pass

    # --- people -----------------------------------------------------------------------------
    @rule(name=st.sampled_from(SENSORS))
    def add(self, name: str) -> None:
        """Add a sensor that is not there."""
        if name not in self.sim.sensors:
            self.sim.add(name)

    @rule(name=st.sampled_from(SENSORS))
    def remove(self, name: str) -> None:
        """Remove one that is."""
        stored = self.sim.sensors.get(name)
        if stored is not None and not stored.record.removing:
            self.sim.remove(name)
            self.steady[name] = {
                key for key in KEYS if key.role == ENVOY_ROLE and self.sim.nodes[key].connection is not None
            }

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

    @rule(node_id=st.sampled_from(NODES), steady=st.booleans())
    def shards_may_move(self, node_id: str, steady: bool) -> None:
        """A worker has been here for long, or has not."""
        (self.sim.steady.add if steady else self.sim.steady.discard)(node_id)

    # --- nodes ------------------------------------------------------------------------------
    @rule(key=st.sampled_from(KEYS))
    def connect(self, key: NodeKey) -> None:
        """A node opens a stream, if it has none."""
        if self.sim.nodes[key].connection is None:
            self.sim.connect(key)

    @rule(key=st.sampled_from(KEYS))
    def ask_rest(self, key: NodeKey) -> None:
        """A node asks for all its types."""
        self.sim.ask_rest(key)

    @rule(key=st.sampled_from(KEYS))
    def disconnect(self, key: NodeKey) -> None:
        """A node's stream ends."""
        for envoys in self.steady.values():
            envoys.discard(key)
        self.sim.disconnect(key)

    @rule(node_id=st.sampled_from(NODES))
    def restart_worker(self, node_id: str) -> None:
        """A worker comes back knowing nothing."""
        key = NodeKey(WORKER_ROLE, node_id)
        self.sim.disconnect(key)
        self.sim.nodes[key].running.clear()
        self.sim.connect(key)

    @rule(key=st.sampled_from(KEYS))
    def answer(self, key: NodeKey) -> None:
        """A node applies one response."""
        self.answer_once(key)

    def answer_once(self, key: NodeKey) -> bool:
        """Have a node apply a response, and judge what changed; False if there was none."""
        node = self.sim.nodes[key]
        if key.role == WORKER_ROLE:
            before, held = node.assigned(), node.leases()
            answered = self.sim.answer(key)
            self._judge_worker(key, before, node.assigned())
            self._judge_leases(key, held, node.leases())
        else:
            before = node.endpoints()
            answered = self.sim.answer(key)
            after = node.endpoints()
            self.ran[key.node_id].update(after.items())
            for name in before.keys() - after.keys():
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
            assert lease.owner == key.node_id or taken, f"{key} loses shard {shard} to nobody yet"

    # --- the host ---------------------------------------------------------------------------
    @precondition(lambda self: HOST in self.sim.plan.wishes)
    @rule()
    def host_works(self) -> None:
        """The host does one thing that it is asked for."""
        self._host_works()

    def _host_works(self) -> None:
        removed = self.sim.do_host_work(self._address())
        if removed is not None:
            assert not self.sim.may_stream(removed), f"the VM of {removed} goes under a stream"
            for key in self.steady.get(removed, set()):
                assert removed not in self.sim.nodes[key].endpoints(), f"{key} has {removed}, its VM goes"

    @rule(name=st.sampled_from(SENSORS))
    def move(self, name: str) -> None:
        """A VM serves elsewhere."""
        if name in self.sim.host.vms:
            self.sim.move(name, self._address())

    # --- the end ----------------------------------------------------------------------------
    def teardown(self) -> None:
        """With everybody there and answering, everything becomes as it is wanted."""
        sim = self.sim
        for key in KEYS:
            if sim.nodes[key].connection is None:
                sim.connect(key)
            sim.ask_rest(key)
        self._round(30)
        assert not [name for name, each in sim.sensors.items() if each.record.removing], "removals end"
        for name in sim.sensors:
            endpoint = sim.host.vms[name].endpoint
            assert endpoint is not None
            owner = sim.leases[shard_of(name, SHARDS)].owner
            for node_id in NODES:
                assert sim.node(ENVOY_ROLE, node_id).endpoints().get(name) == endpoint.version
                told = sim.node(WORKER_ROLE, node_id).assigned().get(name)
                assert told == (endpoint.version if node_id == owner else None)
        super().teardown()


Plans.TestCase.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
TestPlans = Plans.TestCase
