"""Rules as a worker takes them: from a scripted control plane into the log of its shard."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journal.support import policy, readings_log, wait_for
from tests.support.nats import NatsServer
from tests.worker.rig import Rig, rig
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.names import LEASE_TYPE, POLICY_TYPE, RULE_TYPE

pytestmark = pytest.mark.timeout(90)


def body(rule_id: str, revision: int, for_ms: int = 1000) -> bytes:
    """Return a rule."""
    rule = config_pb2.Rule(id=rule_id, revision=revision, missing=config_pb2.Missing(for_ms=for_ms))
    return rule.SerializeToString()


async def stated(around: Rig) -> list[tuple[int, list[tuple[str, int]] | None]]:
    """Return OPEN and RULES records: their kinds, and the rules that they state (None: nothing)."""
    told: list[tuple[int, list[tuple[str, int]] | None]] = []
    for _, record in await readings_log(around.client.jetstream()):
        if record.kind in {journal_pb2.ReadingsRecord.OPEN, journal_pb2.ReadingsRecord.RULES}:
            rules = [(rule.id, rule.revision) for rule in record.rules.rules]
            told.append((record.kind, rules if record.HasField("rules") else None))
    return told


OPEN, RULES = journal_pb2.ReadingsRecord.OPEN, journal_pb2.ReadingsRecord.RULES


async def test_an_ack_means_that_a_rule_is_in_the_log(nats_server: NatsServer, tmp_path: Path) -> None:
    """Put, changed and removed; a rule that is no good is refused, and the others go on."""
    async with rig(tmp_path, nats_server) as around:
        await around.start_worker()
        plane = around.plane
        await around.program("press-1")
        assert await plane.answer(await plane.put(RULE_TYPE, "a", body("a", 1))) is None
        assert await plane.answer(await plane.put(RULE_TYPE, "b", body("b", 2))) is None
        refused = await plane.answer(await plane.put(RULE_TYPE, "c", body("c", 3, for_ms=0)))
        assert refused == "c: missing.for_ms must be 1 to 2678400000 (31 days)"
        assert await plane.answer(await plane.put(RULE_TYPE, "a", body("a", 4))) is None
        assert await plane.answer(await plane.remove(RULE_TYPE, "b")) is None
        assert await stated(around) == [
            (OPEN, None),
            (RULES, [("a", 1)]),
            (RULES, [("a", 1), ("b", 2)]),
            (RULES, [("a", 4), ("b", 2)]),
            (RULES, [("a", 4)]),
        ]


async def test_rules_that_went_while_the_worker_was_away(nats_server: NatsServer, tmp_path: Path) -> None:
    """What is unknown stays in force; the first response, also an empty one, says what there is."""
    async with rig(tmp_path, nats_server) as around:
        await around.start_worker()
        plane = around.plane
        await plane.put(POLICY_TYPE, "default", policy().SerializeToString())
        await plane.put(RULE_TYPE, "a", body("a", 1))
        assert await plane.lease() is None
        assert (await stated(around))[-1] == (OPEN, [("a", 1)])
        await around.stop_worker()
        plane.resources.clear()
        await around.start_worker()
        await plane.put(POLICY_TYPE, "default", policy().SerializeToString())
        lease = config_pb2.ShardLease(shard=0, lease_generation=2).SerializeToString()
        assert await plane.answer(await plane.put(LEASE_TYPE, "0", lease)) is None
        assert (await stated(around))[-1] == (OPEN, None)
        await plane.say_nothing_of(RULE_TYPE)

        async def ended() -> bool:
            return (await stated(around))[-1] == (RULES, [])

        await wait_for("the rule is out of force", ended)
