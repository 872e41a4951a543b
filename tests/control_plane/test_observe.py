"""Statuses, live windows and audit counters as they come over NATS."""

from __future__ import annotations

import asyncio

import pytest
from nats.aio.msg import Msg
from prometheus_client import CollectorRegistry

from control_plane.changes import Changes
from control_plane.model import AuditUnavailableError
from control_plane.node_model import WorkerView
from control_plane.observe.audit import audit_of_shards
from control_plane.observe.board import FORGET_S, StatusBoard
from control_plane.observe.listener import listening
from control_plane.observe.live_windows import QUEUED, LiveWindowsFeed
from tests.journal.support import connected
from tests.support.nats import NatsServer
from tests.xds.support import eventually
from wire.names import audit_subject, live_subject, sink_status_subject, worker_status_subject
from wire.status import RejectedInput, ShardAudit, SinkStatus, WorkerStatus


def worker(readings_per_s: float = 1.0) -> bytes:
    """Return a worker's status."""
    status = WorkerStatus(
        node_id="node-1",
        pid=1,
        now_unix_ns=1,
        state="running",
        shards=[0],
        readings_per_s=readings_per_s,
        streams=[],
    )
    return status.model_dump_json().encode()


def sink(message: str | None = None) -> bytes:
    """Return a sink's status."""
    status = SinkStatus(
        sink="warehouse",
        pid=1,
        now_unix_ns=1,
        state="running",
        message=message,
        rows_delivered=1,
        lag_rows=0,
        lag_s=0.0,
    )
    return status.model_dump_json().encode()


def test_the_board_says_how_old_its_news_is() -> None:
    """Ages are by our clock; a silent sink is shown as failed, and in the end not at all."""
    board = StatusBoard()
    board.worker_said("node-1", worker(), 100.0)
    board.sink_said(sink("catching up"), 100.0)
    assert board.heard(103.0)["node-1"].age_s == 3.0
    assert [each.state for each in board.sinks(109.0)] == ["running"]
    silent = board.sinks(112.0)[0]
    assert (silent.state, silent.message) == (
        "failed",
        "has been silent for 12 s; its last words: catching up",
    )
    assert board.sinks(101.0 + FORGET_S) == []
    assert board.heard(101.0 + FORGET_S) == {}


def test_a_status_is_read_when_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, and only the newest: with a large fleet it would else be most of what an idle core does."""
    read: list[bytes] = []
    validate = WorkerStatus.model_validate_json

    def counted(data: bytes) -> WorkerStatus:
        read.append(data)
        return validate(data)

    monkeypatch.setattr(WorkerStatus, "model_validate_json", counted)
    board = StatusBoard()
    for number in range(3):
        board.worker_said("node-1", worker(number), 100.0 + number)
    assert read == []
    for _ in range(2):
        assert board.heard(103.0)["node-1"].status.readings_per_s == 2.0
        assert board.heard(103.0)["node-1"].age_s == 1.0
    assert read == [worker(2)]


def test_a_status_that_cannot_be_read_is_passed_over() -> None:
    """What the worker said before grows old."""
    board = StatusBoard()
    board.worker_said("node-1", worker(), 100.0)
    assert board.heard(100.0)["node-1"].age_s == 0.0
    board.worker_said("node-1", b"not JSON", 102.0)
    assert board.heard(103.0)["node-1"].age_s == 3.0


def test_a_node_says_all_that_its_worker_says() -> None:
    """But for its streams, which sensors show: also what it could not use, and where."""
    status = WorkerStatus(
        node_id="node-1",
        pid=1,
        now_unix_ns=1,
        state="paused",
        message="the disk is full",
        shards=[0],
        readings_per_s=1.5,
        streams=[],
        rejected={"no JSON": 2},
        rejected_last=[
            RejectedInput(
                sensor_id="a",
                reason="no JSON",
                stream=1,
                epoch="0" * 16,
                offset=7,
                head_hex="7b",
                at_unix_ns=1,
            )
        ],
    )
    shown = WorkerView.of(status).model_dump()
    assert shown == status.model_dump(exclude={"streams"})


async def test_statuses_are_heard(nats_server: NatsServer) -> None:
    """Each is a change; a sink's that cannot be read is none."""
    board, changes = StatusBoard(), Changes()
    async with connected(nats_server) as client, listening(client, board, changes.note):
        await client.publish(sink_status_subject("warehouse"), b"not JSON")
        await client.publish(worker_status_subject("node-1"), worker(2.5))
        await client.publish(sink_status_subject("warehouse"), sink())
        seen = changes.count
        while seen < 3:
            seen = await changes.wait(seen, 10)
        now = asyncio.get_running_loop().time()
        assert board.heard(now)["node-1"].status.readings_per_s == 2.5
        assert [each.sink for each in board.sinks(now)] == ["warehouse"]


async def test_live_windows_are_fanned_out(nats_server: NatsServer) -> None:
    """Everybody sees what they asked for; the last one to leave ends the subscription."""
    async with connected(nats_server) as client:
        feed = LiveWindowsFeed(client, CollectorRegistry())
        async with feed.windows(["a"]) as one, feed.windows(["a", "b"]) as two, feed.windows([]) as every:
            await client.flush()
            for name in ("a", "b", "c"):
                await client.publish(live_subject(name), name.encode())
            async with asyncio.timeout(10):
                assert await anext(one) == b"a"
                assert [await anext(two) for _ in range(2)] == [b"a", b"b"]
                assert [await anext(every) for _ in range(3)] == [b"a", b"b", b"c"]

        async def nobody() -> bool:
            return not client._subs

        await eventually("no subscription is left", nobody)


async def test_who_is_slow_loses_the_oldest(nats_server: NatsServer) -> None:
    """A queue is bounded, and what is lost is counted."""
    registry = CollectorRegistry()
    async with connected(nats_server) as client:
        feed = LiveWindowsFeed(client, registry)
        async with feed.windows(["a"]) as messages:
            await client.flush()
            for number in range(QUEUED + 5):
                await client.publish(live_subject("a"), str(number).encode())

            async def dropped() -> bool:
                return registry.get_sample_value("gaugeway_live_windows_dropped_total") == 5

            await eventually("five are dropped", dropped)
            assert await anext(messages) == b"5"


async def test_the_audit_is_whole_or_not_at_all(nats_server: NatsServer) -> None:
    """Every shard answers, or the error names those that do not."""
    async with connected(nats_server) as client:

        async def answer(request: Msg) -> None:
            shard = int(request.subject.rpartition(".")[2])
            audit = ShardAudit(shard=shard, generation=1, through=3, sensors=[])
            await request.respond(audit.model_dump_json().encode())

        await client.subscribe(audit_subject(0), cb=answer)
        await client.flush()
        with pytest.raises(AuditUnavailableError, match="shard 1") as raised:
            await audit_of_shards(client, 2)
        assert raised.value.shards == (1,)
        await client.subscribe(audit_subject(1), cb=answer)
        await client.flush()
        assert [audit.shard for audit in await audit_of_shards(client, 2)] == [0, 1]


async def test_changes_are_not_missed() -> None:
    """A wait returns at once for what was before it, else at the next change, else in time."""
    changes = Changes()
    assert await changes.wait(0, 10) == 1
    waiting = asyncio.create_task(changes.wait(1, 10))
    await asyncio.sleep(0)
    changes.note()
    assert await waiting == 2
    assert await changes.wait(2, 0.01) == 2
