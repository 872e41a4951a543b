"""Rules from people to workers: in the store on a real NATS, in plans, and in what is published."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.resources.rule import rule_message, rule_resource
from control_plane.rule_model import (
    KINDS,
    MAX_RULES_BYTES,
    Rule,
    RuleConflictError,
    RuleSpec,
    TooManyRulesError,
    UnknownRuleError,
)
from control_plane.store.records import RuleRecord
from control_plane.xds.node import NodeKey
from tests.control_plane.sim import Sim
from tests.control_plane.test_desired import watched
from tests.support.nats import NatsServer
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.names import RULE_TYPE, WORKER_ROLE

WORKER = NodeKey(WORKER_ROLE, "node-1")
CONDITIONS: dict[str, dict[str, Any]] = {
    "threshold": {"side": "below", "level": 3.5, "for_ms": 200},
    "rate": {"direction": "fall", "per_s": 2, "clear": 0.5, "span_ms": 5000},
    "flatline": {"epsilon": 0.25, "for_ms": 60_000},
    "missing": {"for_ms": 5_000},
    "clock_skew": {"behind_ms": 300_000},
}


def spec(rule_id: str, kind: str = "missing", **selection: list[str]) -> RuleSpec:
    """Return a rule as it is asked for."""
    return RuleSpec.model_validate(
        {"id": rule_id, "selection": selection, "condition": {"kind": kind, **CONDITIONS[kind]}}
    )


async def test_a_rule_is_stored_changed_and_removed(nats_server: NatsServer) -> None:
    """Every change has a revision of its own, also after a removal; as it was, a rule keeps it."""
    async with watched(nats_server) as whole:
        store = whole.desired.rule_store
        first = await store.put(spec("hot"))
        assert await store.put(spec("hot")) == first
        second = await store.put(spec("hot", "rate"), last=first.revision)
        assert second.revision > first.revision
        for last in (first.revision, 0):
            with pytest.raises(RuleConflictError) as refused:
                await store.put(spec("hot"), last=last)
            assert refused.value.revision == second.revision
        with pytest.raises(RuleConflictError):
            await store.remove("hot", last=first.revision)
        assert await store.remove("hot", last=second.revision) == second
        with pytest.raises(UnknownRuleError):
            await store.remove("hot")
        third = await store.put(spec("hot"), last=0)
        assert third.revision > second.revision
    async with watched(nats_server) as whole:
        assert whole.desired.rules == {"hot": third}


async def test_all_rules_fit_into_one_record(nats_server: NatsServer) -> None:
    """What would make them too large together is refused; changing one that is there is not."""
    async with watched(nats_server) as whole:
        store = whole.desired.rule_store
        many = [f"{'x' * 60}-{number}" for number in range(32)]
        rules = [spec(f"r{number}", sensors=many, sites=many) for number in range(100)]
        fit = MAX_RULES_BYTES // len(RuleRecord(spec=rules[10]).encode())
        for rule in rules[:fit]:
            await store.put(rule)
        with pytest.raises(TooManyRulesError):
            await store.put(rules[fit])
        await store.put(spec("r0", "flatline", sensors=many, sites=many[1:]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_reaches_workers_as_it_was_asked_for(kind: str) -> None:
    """Each kind is encoded with all it says; what was left out is filled in."""
    message = rule_message(Rule(spec("hot", kind, sensors=["press-*"]), 7))
    assert (message.id, message.revision, message.WhichOneof("condition")) == ("hot", 7, kind)
    assert list(message.selection.sensors) == ["press-*"]
    encoded = getattr(message, kind)
    for name, value in CONDITIONS[kind].items():
        if name not in {"side", "direction"}:
            assert getattr(encoded, name) == value
    if kind == "threshold":
        assert (encoded.side, encoded.clear) == (config_pb2.Threshold.BELOW, 3.5)
    if kind == "rate":
        assert encoded.direction == config_pb2.Rate.FALL


def rules_of(sim: Sim) -> dict[str, int]:
    """Return what the worker runs: {rule: revision}."""
    running = sim.nodes[WORKER].running.get(RULE_TYPE, {})
    messages = (config_pb2.Rule.FromString(each) for _, each in running.values())
    return {message.id: message.revision for message in messages}


def settle(sim: Sim) -> None:
    """Step, and have the worker answer all that it is sent."""
    sim.step()
    while sim.answer(WORKER):
        sim.step()


def test_workers_run_the_rules_that_are_wanted() -> None:
    """Put, changed and removed; only what differs is sent; a plan made anew is the same plan."""
    sim = Sim(["node-1"])
    sim.connect(WORKER)
    sim.ask_rest(WORKER)
    sim.rules["hot"] = Rule(spec("hot"), 1)
    sim.rules["cold"] = Rule(spec("cold"), 2)
    settle(sim)
    assert rules_of(sim) == {"hot": 1, "cold": 2}
    version = sim.nodes[WORKER].running[RULE_TYPE]["cold"][0]
    assert version == rule_resource(sim.rules["cold"]).version
    sim.rules["hot"] = Rule(spec("hot", "rate"), 3)
    sim.step()
    connection = sim.nodes[WORKER].connection
    assert connection is not None
    sim.nodes[WORKER].inbox.extend(sim.cache.take(connection))
    assert [[each.name for each in response.put] for response in sim.nodes[WORKER].inbox] == [["hot"]]
    settle(sim)
    del sim.rules["cold"]
    settle(sim)
    assert rules_of(sim) == {"hot": 3}
