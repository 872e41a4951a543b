"""What follows from a picture: placement, leases, removal, orphans."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from control_plane.reconcile.leases import LeaseClaim, due_claims, rendezvous
from control_plane.reconcile.plan import Plan, make_plan
from control_plane.reconcile.presence import FORGET_S, MAX_AWAY, Presence
from control_plane.reconcile.world import EnvoyState, HostState, Memory, WorkerState, World
from control_plane.resources.worker import ShardLease, WindowPolicy, lease_resource
from control_plane.store.records import Lease
from control_plane.xds.node import NodeKey
from hyperv.model import Endpoint
from tests.control_plane.sim import HOST, SHARDS, Sim, running_vm, sensor
from wire.ids import shard_of
from wire.names import ENVOY_ROLE, WORKER_ROLE

HERE, THERE = Endpoint(address="127.20.0.1", port=7070), Endpoint(address="127.20.0.2", port=7070)
WORKERS = st.sets(st.sampled_from([f"node-{number}" for number in range(8)]), min_size=1)
SHARD = shard_of("press-1", SHARDS)


def world(**changes: object) -> World:
    """Return a picture with one sensor that is live on node-1, changed."""
    base = World(
        shards=SHARDS,
        sensors={"press-1": sensor("press-1")},
        endpoints={"press-1": HERE},
        leases={shard: Lease("node-1", 1, 1) for shard in range(SHARDS)},
        policy=WindowPolicy(),
        hosts={HOST: HostState(reachable=True, vms={"press-1": running_vm(sensor("press-1"), HERE)})},
        envoys={"node-1": EnvoyState(connected=True, runs={HOST: {"press-1": HERE}})},
        workers={"node-1": WorkerState(connected=True, asked=True)},
        recent=frozenset({"node-1"}),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def removing(**changes: object) -> World:
    """Return a picture with one sensor on its way out, changed."""
    return world(**{"sensors": {"press-1": sensor("press-1", removing=True)}, **changes})


def told(plan: Plan, node_id: str = "node-1") -> dict[str, str]:
    """Return what a node's worker is told: {sensor: endpoint version}."""
    return {key: each.endpoint_version for key, each in plan.workers[node_id].assignments.items()}


# --- leases -------------------------------------------------------------------------------------
@given(workers=WORKERS, shard=st.integers(0, 63))
def test_losing_a_worker_moves_only_its_shards(workers: set[str], shard: int) -> None:
    """Rendezvous hashing: whoever is left keeps what it had."""
    owner = rendezvous(shard, workers)
    for gone in workers - {owner}:
        assert rendezvous(shard, workers - {gone}) == owner


def test_every_shard_gets_an_owner_once() -> None:
    """Without a lease a shard gets generation 1; with an owner that is there nothing is written."""
    claims = due_claims(2, {}, ["node-1"], {"node-1"}, holders={})
    assert claims == (LeaseClaim(0, "node-1", 1, 0), LeaseClaim(1, "node-1", 1, 0))
    leases = {shard: Lease("node-1", 1, 5) for shard in range(2)}
    assert due_claims(2, leases, ["node-1", "node-2"], {"node-1", "node-2"}, holders=leases) == ()


def test_an_owner_that_is_away_keeps_its_shards_for_a_while() -> None:
    """Within the grace nothing moves; after it the generation rises; without any worker nothing moves."""
    leases = {0: Lease("node-1", 3, 9)}
    assert due_claims(1, leases, ["node-2"], {"node-1", "node-2"}, holders=leases) == ()
    assert due_claims(1, leases, ["node-2"], {"node-2"}, holders=leases) == (LeaseClaim(0, "node-2", 4, 9),)
    assert due_claims(1, leases, [], set(), holders=leases) == ()


def test_an_absence_begins_when_it_is_seen() -> None:
    """However long ago the last look was; a node that is back is not away."""
    absences, key = Presence(), NodeKey(WORKER_ROLE, "node-1")
    absences.look({key}, {key}, 0.0)
    absences.look({key}, (), 1000.0)
    assert absences.away_s(key, 1003.0) == 3.0
    absences.look({key}, (), 1005.0)
    assert absences.away_s(key, 1010.0) == 10.0
    absences.look({key}, {key}, 1011.0)
    assert absences.away_s(key, 1012.0) == 0.0
    assert absences.here_s(key, 1012.0) == 1.0


def test_a_worker_that_joins_is_given_its_shards_one_at_a_time() -> None:
    """The next one moves once the one before is written by its new owner; none while any is not held."""
    both, leases = ["node-1", "node-2"], {shard: Lease("node-1", 1, 9) for shard in range(8)}
    steady = set(both)
    moved = []
    while claims := due_claims(8, leases, both, steady, holders=dict(leases), steady=steady):
        (claim,) = claims
        assert (claim.owner, claim.generation, claim.last) == ("node-2", 2, 9)
        holders = dict(leases)
        leases[claim.shard] = Lease("node-2", 2, 10)
        assert due_claims(8, leases, both, steady, holders=holders, steady=steady) == ()
        moved.append(claim.shard)
    assert moved == [shard for shard in range(8) if rendezvous(shard, both) == "node-2"]
    assert moved


def test_shards_move_only_between_workers_that_stay() -> None:
    """Neither to a worker that has just come, nor because its owner has."""
    leases = {shard: Lease("node-1", 1, 9) for shard in range(8)}
    both = ["node-1", "node-2"]
    for steady in (set(), {"node-1"}, {"node-2"}):
        assert due_claims(8, leases, both, set(both), holders=leases, steady=steady) == ()


# --- placement ----------------------------------------------------------------------------------
def test_a_worker_is_told_once_its_envoy_is_ready() -> None:
    """Not before the Envoy of the same node runs the endpoint, whatever other Envoys run."""
    waiting = world(
        envoys={
            "node-1": EnvoyState(connected=True),
            "node-2": EnvoyState(True, 0, {HOST: {"press-1": HERE}}),
        }
    )
    assert told(make_plan(waiting, Memory())) == {}
    ready = make_plan(world(), Memory())
    assert told(ready) == {"press-1": HERE.version}


def test_a_move_goes_to_envoy_first() -> None:
    """The worker keeps the old address until its Envoy runs the new one."""
    memory = make_plan(world(), Memory()).memory
    moved = world(endpoints={"press-1": THERE})
    plan = make_plan(moved, memory)
    assert plan.endpoints[HOST]["press-1"] == THERE
    assert told(plan) == {"press-1": HERE.version}
    there = world(
        endpoints={"press-1": THERE},
        envoys={"node-1": EnvoyState(connected=True, runs={HOST: {"press-1": THERE}})},
    )
    assert told(make_plan(there, plan.memory)) == {"press-1": THERE.version}


def test_what_a_host_says_is_written_down_first() -> None:
    """An endpoint that is only heard of reaches no node: it could be forgotten after a worker had it."""
    plan = make_plan(world(endpoints={}), Memory())
    assert plan.learnt == {"press-1": HERE}
    assert plan.endpoints == {HOST: {}}
    assert make_plan(world(), Memory()).learnt == {}


def test_a_host_that_is_away_keeps_its_endpoints() -> None:
    """Neither silence nor an empty inventory takes an endpoint away."""
    for host in (HostState(reachable=False), HostState(reachable=None), HostState(reachable=True)):
        assert make_plan(world(hosts={HOST: host}), Memory()).endpoints[HOST] == {"press-1": HERE}


def test_one_address_belongs_to_one_sensor() -> None:
    """Whom the host says to be there has it; the other is left out, and the rest of the fleet goes on."""
    sensors = {name: sensor(name) for name in ("press-0", "press-1")}
    both = world(sensors=sensors, endpoints={"press-0": HERE, "press-1": HERE})
    plan = make_plan(both, Memory())
    assert plan.endpoints[HOST] == {"press-1": HERE}
    assert plan.left_out == {"press-0": "press-1"}


def test_a_worker_that_has_not_said_what_it_runs_is_told_nothing() -> None:
    """A new control plane would else take away what the worker streams."""
    sim = Sim(["node-1"])
    envoy, worker = NodeKey(ENVOY_ROLE, "node-1"), NodeKey(WORKER_ROLE, "node-1")
    for key in (envoy, worker):
        sim.connect(key)
        sim.ask_rest(key)
    sim.add("press-1")
    for _ in range(6):
        sim.step()
        sim.write()
        sim.do_host_work(HERE)
        for key in (envoy, worker):
            while sim.answer(key):
                pass
    assert sim.nodes[worker].assigned() == {"press-1": HERE.version}
    sim.restart()
    sim.connect(worker)
    sim.step()
    sim.ask_rest(worker)
    while sim.answer(worker):
        pass
    sim.step()
    while sim.answer(worker):
        pass
    assert sim.nodes[worker].assigned() == {"press-1": HERE.version}


def test_nodes_are_gone_for_good_after_long_or_when_there_are_too_many() -> None:
    """Those away for longest go first; who is here, or kept, never does."""
    presence, here = Presence(), NodeKey(ENVOY_ROLE, "here")
    keys = [NodeKey(ENVOY_ROLE, f"node-{number:04}") for number in range(MAX_AWAY + 2)]
    for known in range(1, len(keys) + 1):
        presence.look([here, *keys[:known]], [here], known / 1000)
    assert presence.gone(["node-0001"], 2.0) == [keys[0]]
    presence.look([here, *keys[1:10]], [here], 3.0)
    assert presence.gone(["node-0001"], 4.0) == []
    assert presence.gone(["node-0001"], 2.0 + FORGET_S) == keys[2:10]


def test_a_node_can_be_forgotten_while_its_neighbour_stays() -> None:
    """Envoy and worker have one id: what is known of the one does not go with the other."""
    for gone, stays in ((WORKER_ROLE, ENVOY_ROLE), (ENVOY_ROLE, WORKER_ROLE)):
        sim = Sim(["node-1"])
        for role in (gone, stays):
            sim.connect(NodeKey(role, "node-1"))
        sim.step()
        sim.disconnect(NodeKey(gone, "node-1"))
        sim.step()
        sim.forget(NodeKey(gone, "node-1"))
        while sim.answer(NodeKey(stays, "node-1")):
            sim.step()
        assert sim.engine.nodes.keys() == {NodeKey(stays, "node-1"): True}


# --- moving a shard -----------------------------------------------------------------------------
def moving(**changes: object) -> World:
    """Return a picture in which node-2 has just got the lease of press-1's shard, changed."""
    at_both = EnvoyState(connected=True, runs={HOST: {"press-1": HERE}})
    held = lease_resource(ShardLease(SHARD, 1)).version
    first = WorkerState(connected=True, asked=True, leases={SHARD: held})
    base = {
        "leases": {SHARD: Lease("node-2", 2, 7)},
        "envoys": {"node-1": at_both, "node-2": at_both},
        "workers": {"node-1": first, "node-2": WorkerState(connected=True, asked=True)},
    }
    return world(**{**base, **changes})


def holds(worker: str) -> dict[str, WorkerState]:
    """Return both workers; `worker` says that it writes the shard under the new lease."""
    version = lease_resource(ShardLease(SHARD, 2)).version
    both = dict(moving().workers)
    both[worker] = replace(both[worker], leases={SHARD: version})
    return both


def test_a_shard_moves_once_its_new_owner_writes_it() -> None:
    """Until then the old one keeps lease and sensors; then the new one has both. Whatever was forgotten."""
    for memory in (Memory(holders={SHARD: Lease("node-1", 1, 3)}), Memory()):
        plan = make_plan(moving(), memory)
        assert [each.shard for each in plan.workers["node-2"].leases] == [SHARD]
        assert [each.lease_generation for each in plan.workers["node-1"].leases] == [1]
        assert (told(plan), told(plan, "node-2")) == ({"press-1": HERE.version}, {})
        plan = make_plan(moving(workers=holds("node-2")), plan.memory)
        assert plan.workers["node-1"].leases == ()
        assert (told(plan), told(plan, "node-2")) == ({}, {"press-1": HERE.version})


def test_a_shard_does_not_wait_for_an_owner_that_is_away() -> None:
    """Its sensors go to the new one at once: nothing is left to be kept."""
    workers = {**moving().workers, "node-1": WorkerState(connected=False)}
    plan = make_plan(moving(workers=workers), Memory(holders={SHARD: Lease("node-1", 1, 3)}))
    assert told(plan, "node-2") == {"press-1": HERE.version}


# --- removal ------------------------------------------------------------------------------------
def test_a_removal_waits_for_the_worker_then_envoy_then_host() -> None:
    """Each step needs the proof of the one before."""
    memory = make_plan(world(), Memory()).memory
    plan = make_plan(removing(), memory)
    assert told(plan) == {}
    assert plan.endpoints[HOST] == {"press-1": HERE}
    clear = {"node-1": WorkerState(connected=True, asked=True, clear=frozenset({"press-1"}))}
    plan = make_plan(removing(workers=clear), plan.memory)
    assert plan.endpoints[HOST] == {}
    assert plan.wishes[HOST].remove == frozenset()
    without = {"node-1": EnvoyState(connected=True, runs={HOST: {}})}
    plan = make_plan(removing(workers=clear, envoys=without), plan.memory)
    assert plan.wishes[HOST].remove == {"press-1"}
    assert plan.forget == ()
    done = {HOST: HostState(reachable=True, removed=frozenset({"press-1"}))}
    plan = make_plan(removing(workers=clear, envoys=without, hosts=done), plan.memory)
    assert plan.forget == ("press-1",)


def test_a_step_is_not_taken_back() -> None:
    """A worker that goes away after it confirmed is not waited for again."""
    memory = Memory(released=frozenset({"press-1"}))
    plan = make_plan(removing(workers={"node-1": WorkerState(connected=False)}), memory)
    assert plan.memory.released == {"press-1"}


def test_a_removal_waits_for_an_owner_that_is_away() -> None:
    """Its streams go on without us; also one that was never seen since a restart."""
    for workers in ({}, {"node-1": WorkerState(connected=False)}):
        assert make_plan(removing(workers=workers), Memory()).memory.released == frozenset()


def test_a_removal_waits_until_a_former_owner_is_fenced() -> None:
    """The new owner must hold the lease, and whoever else is connected must be clear too."""
    clear = WorkerState(connected=True, asked=True, clear=frozenset({"press-1"}))
    lease = Lease("node-2", 2, 7)
    held = replace(clear, leases={SHARD: lease_resource(ShardLease(SHARD, 2)).version})
    leases = {SHARD: lease}
    for workers, released in (
        ({"node-2": clear}, False),
        ({"node-2": held}, True),
        ({"node-2": held, "node-1": WorkerState(connected=True, asked=True)}, False),
        ({"node-2": held, "node-1": WorkerState(connected=False)}, True),
    ):
        plan = make_plan(removing(workers=workers, leases=leases), Memory())
        assert (plan.memory.released == {"press-1"}) is released, workers


def test_what_no_worker_ever_had_goes_at_once() -> None:
    """Without an endpoint written down, or without any lease, there is nothing to wait for."""
    assert make_plan(removing(endpoints={}, workers={}), Memory()).memory.drained == {"press-1"}
    assert make_plan(removing(leases={}, workers={}), Memory()).memory.released == {"press-1"}


def test_a_vm_of_no_sensor_is_left_alone() -> None:
    """Only what is marked as removing is removed."""
    plan = make_plan(world(sensors={}, endpoints={}), Memory())
    assert plan.wishes[HOST].remove == frozenset()
    assert plan.wishes[HOST].ensure == {}
