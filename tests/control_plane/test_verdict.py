"""How a sensor stands, rule by rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from control_plane.reconcile.plan import make_plan
from control_plane.reconcile.verdict import Heard, sensor_verdict
from control_plane.reconcile.world import EnvoyState, Failure, HostState, Memory, WorkerState
from control_plane.resources.worker import ShardLease, assignment_resource, lease_resource
from hyperv.model import Endpoint
from tests.control_plane.sim import HOST, running_vm, sensor
from tests.control_plane.test_plan import HERE, SHARD, THERE, world
from wire.status import StreamStatus, WorkerStatus

MEMORY = make_plan(world(), Memory()).memory
VERSION = assignment_resource(MEMORY.assigned["press-1"].assignment).version
ACKED = {"node-1": WorkerState(connected=True, asked=True, acked={"press-1": VERSION})}
HOLDS = {"node-1": replace(ACKED["node-1"], leases={SHARD: lease_resource(ShardLease(SHARD, 1)).version})}
VM = running_vm(sensor("press-1"), HERE)
NEW = Memory()


def heard(
    state: str = "live", endpoint: Endpoint = HERE, age_s: float = 0.5, **more: Any
) -> dict[str, Heard]:
    """Return what node-1 said of press-1."""
    stream = StreamStatus.model_validate(
        {
            "sensor_id": "press-1",
            "state": state,
            "since_unix_ns": 1,
            "endpoint_version": endpoint.version,
            **more,
        }
    )
    status = WorkerStatus(
        node_id="node-1",
        pid=1,
        now_unix_ns=1,
        state="running",
        shards=[0],
        readings_per_s=1,
        streams=[stream],
    )
    return {"node-1": Heard(status, {"press-1": stream}, age_s)}


def host(**changes: Any) -> dict[str, HostState]:
    """Return a host that answers and has the VM, changed."""
    return {HOST: HostState(**{"reachable": True, "vms": {"press-1": VM}, **changes})}


REMOVING = {"press-1": sensor("press-1", removing=True)}
CASES: list[tuple[str, dict[str, Any], Memory, dict[str, Heard], str, str]] = [
    ("live", {"workers": ACKED}, MEMORY, heard(), "live", "streams from 127.20.0.1:7070"),
    ("old words", {"workers": ACKED}, MEMORY, heard(age_s=5.1), "unreachable", "silent for 5 s"),
    ("no words", {"workers": HOLDS}, MEMORY, {}, "pending", "say how its stream is"),
    ("shard not taken yet", {"workers": ACKED}, MEMORY, {}, "pending", f"node-1 to open shard {SHARD}"),
    ("not acknowledged", {}, MEMORY, heard(), "pending", "to take its assignment"),
    (
        "Envoy behind",
        {"workers": ACKED, "envoys": {"node-1": EnvoyState(True)}},
        MEMORY,
        heard(),
        "pending",
        "Envoy",
    ),
    (
        "moving",
        {"workers": ACKED, "endpoints": {"press-1": THERE}},
        MEMORY,
        heard(),
        "pending",
        "Envoy node-1 to take its endpoint 127.20.0.2:7070",
    ),
    ("connecting", {"workers": ACKED}, MEMORY, heard("connecting"), "pending", "connecting"),
    (
        "cut",
        {"workers": ACKED},
        MEMORY,
        heard("backoff", error="reset"),
        "degraded",
        "cut, and tried again soon: reset",
    ),
    ("silent", {"workers": ACKED}, MEMORY, heard("silent"), "degraded", "open but silent"),
    (
        "agent starts again",
        {"workers": ACKED, "hosts": host(vms={"press-1": VM.model_copy(update={"state": "starting"})})},
        MEMORY,
        heard("connecting"),
        "degraded",
        "starting again",
    ),
    (
        "VM failed",
        {
            "workers": ACKED,
            "hosts": host(vms={"press-1": VM.model_copy(update={"state": "failed", "message": "no"})}),
        },
        MEMORY,
        heard(),
        "unreachable",
        "VM has failed: no",
    ),
    (
        "host away, stream goes on",
        {"workers": ACKED, "hosts": host(reachable=False, message="timeout")},
        MEMORY,
        heard(),
        "live",
        "streams",
    ),
    (
        "host away, stream cut",
        {"workers": ACKED, "hosts": host(reachable=False, message="timeout")},
        MEMORY,
        heard("backoff"),
        "unreachable",
        "host lab does not answer: timeout",
    ),
    (
        "host not asked yet",
        {"hosts": {HOST: HostState()}, "endpoints": {}},
        NEW,
        {},
        "pending",
        "the first time",
    ),
    ("no host", {"hosts": {}, "endpoints": {}}, NEW, {}, "pending", "not configured"),
    ("VM starts", {"hosts": host(vms={}), "endpoints": {}}, NEW, {}, "pending", "host lab to start its VM"),
    (
        "VM refused",
        {"hosts": host(vms={}, failures={"press-1": Failure("no room", terminal=True)}), "endpoints": {}},
        NEW,
        {},
        "rejected",
        "refuses its VM: no room",
    ),
    (
        "VM not yet",
        {"hosts": host(vms={}, failures={"press-1": Failure("busy", terminal=False)}), "endpoints": {}},
        NEW,
        {},
        "pending",
        "which says: busy",
    ),
    ("no worker", {"leases": {}}, NEW, {}, "pending", "none has connected"),
    (
        "worker not here yet",
        {"workers": {}, "envoys": {}},
        NEW,
        {},
        "pending",
        "worker node-1, which is not connected",
    ),
    (
        "worker away",
        {"workers": {"node-1": WorkerState(False)}},
        MEMORY,
        heard(age_s=9),
        "unreachable",
        "worker node-1",
    ),
    (
        "worker away since before our restart",
        {"workers": {}, "envoys": {}, "recent": frozenset()},
        NEW,
        {},
        "unreachable",
        "worker node-1, which owns its shard, is not connected",
    ),
    (
        "NATS away",
        {"workers": ACKED},
        MEMORY,
        {"node-1": replace(heard(age_s=9)["node-1"], audible=False)},
        "unreachable",
        "worker node-1 was last heard 9 s ago: NATS, over which it speaks, is away",
    ),
    ("Envoy away", {"workers": ACKED, "envoys": {}}, MEMORY, heard(), "unreachable", "Envoy node-1"),
    (
        "worker refuses",
        {"workers": {"node-1": WorkerState(True, asked=True, rejected={"press-1": "press-1: no"})}},
        MEMORY,
        heard("backoff"),
        "rejected",
        "worker node-1 refuses it: press-1: no",
    ),
    (
        "Envoy refuses",
        {"workers": ACKED, "envoys": {"node-1": EnvoyState(True, rejected={HOST: "bad address"})}},
        NEW,
        {},
        "rejected",
        "bad address",
    ),
    (
        "shard not open",
        {"workers": {"node-1": WorkerState(True, asked=True, rejected_leases={SHARD: "journal away"})}},
        MEMORY,
        {},
        "pending",
        "journal away",
    ),
    ("removal begins", {"sensors": REMOVING}, MEMORY, heard(), "removing", "worker node-1, to confirm"),
    (
        "removal at Envoy",
        {"sensors": REMOVING, "workers": {"node-1": WorkerState(True, clear=frozenset({"press-1"}))}},
        MEMORY,
        {},
        "removing",
        "Envoy node-1, to confirm",
    ),
    (
        "removal at a host that is away",
        {"sensors": REMOVING, "endpoints": {}, "hosts": host(reachable=False, message="timeout")},
        NEW,
        {},
        "removing",
        "does not answer: timeout",
    ),
    (
        "removal at a host that is none",
        {"sensors": REMOVING, "endpoints": {}, "hosts": {}},
        NEW,
        {},
        "removing",
        "host lab, which is not configured",
    ),
    (
        "removal at host",
        {"sensors": REMOVING, "endpoints": {}},
        NEW,
        {},
        "removing",
        "host lab to remove its VM",
    ),
    (
        "removed",
        {"sensors": REMOVING, "endpoints": {}, "hosts": host(removed=frozenset({"press-1"}))},
        NEW,
        {},
        "removing",
        "record",
    ),
]


def test_envoy_says_why_a_stream_is_cut() -> None:
    """Only where it is: what Envoy said once is no news of a stream that lives."""
    picture = world(workers=ACKED)
    plan = make_plan(picture, MEMORY)
    cut = sensor_verdict(picture, plan, "press-1", heard("backoff", error="status 503"), "refused")
    assert cut.message == "its stream is cut, and tried again soon: status 503; Envoy says: refused"
    live = sensor_verdict(picture, plan, "press-1", heard(), "refused")
    assert "refused" not in live.message


@pytest.mark.parametrize(
    ("changes", "memory", "said", "status", "message"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_verdict(
    changes: dict[str, Any], memory: Memory, said: dict[str, Heard], status: str, message: str
) -> None:
    """One word and one sentence for each situation."""
    picture = world(**changes)
    verdict = sensor_verdict(picture, make_plan(picture, memory), "press-1", said)
    assert verdict.status == status, verdict
    assert message in verdict.message
