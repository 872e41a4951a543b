"""The agent as a process: what a follower gets of it, whatever happens."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from hyperv.guest.segments import Captured
from hyperv.guest.spool import Spool
from hyperv.recordings import load
from tests.hyperv.support import (
    AgentProcess,
    Follower,
    agent,
    dumped,
    machine_spec,
    replay_spec,
    wait_for,
)
from wire.gen.gaugeway.readings.v1 import readings_pb2
from wire.ids import format_after
from wire.names import STREAM_PATH

VALUES = load("machine_temperature").values


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that opens a connection for each stream."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as client:
        yield client


def in_order(follower: Follower) -> bool:
    """Whether the follower has the recording from its beginning, each value once."""
    return follower.values() == [VALUES[place % len(VALUES)] for place in range(len(follower.readings))]


async def test_a_stream_begins_with_a_heartbeat_and_goes_on(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """Then readings from number 1 on, in the order of the recording, live."""
    follower = Follower(session)
    async with agent(tmp_path, replay_spec()) as running:
        await follower.follow_readings(running.url, 50)
    assert follower.first_frames == ["heartbeat"]
    assert len(follower.epochs) == 1
    assert in_order(follower)
    assert {(r.metric, r.unit) for r in follower.readings.values()} == {("temperature", "[degF]")}


async def test_a_stream_goes_on_after_the_cursor(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """Cut anywhere and asked again: no reading twice, none missing (`Follower` checks every number)."""
    follower = Follower(session)
    async with agent(tmp_path, replay_spec()) as running:
        for _ in range(5):
            await follower.follow_readings(running.url, 7)
        again = Follower(session, epochs=[*follower.epochs], seq=3)
        await again.follow(running.url, lambda: again.seq >= follower.seq)
        head = (await (await session.get(f"{running.url}/healthz")).json())["head_seq"]
        stored = await dumped(running.spool)
    assert in_order(follower)
    assert head >= follower.seq
    assert {key: stored[key] for key in follower.readings} == follower.readings
    assert min(again.readings) == (follower.epochs[0], 4), "in the middle of a block"


async def test_a_cursor_of_another_epoch_begins_at_the_beginning(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """The follower learns of this epoch from number 1 on."""
    follower = Follower(session)
    async with agent(tmp_path, replay_spec()) as running:
        await follower.follow(running.url, lambda: len(follower.readings) >= 5, after=format_after(1, 999))
    assert in_order(follower)


async def test_a_cursor_past_the_head_begins_a_new_epoch(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """What this process captured is served under new numbers; other streams of the old epoch end."""
    first, second = Follower(session), Follower(session)
    async with agent(tmp_path, replay_spec()) as running:
        await first.follow_readings(running.url, 5)
        old = first.epochs[0]
        other = asyncio.create_task(first.follow(running.url, lambda: False))
        await wait_for("the other stream is open", lambda: len(first.first_frames) == 2)
        await second.follow(
            running.url, lambda: len(second.readings) >= 20, after=format_after(old, 10_000_000)
        )
        with pytest.raises(AssertionError, match="the stream ended"):
            await other
        await first.follow_readings(running.url, 20)
    assert second.epochs == first.epochs[1:] != [old]
    assert in_order(second)


async def test_an_evicted_beginning_is_an_explicit_gap(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """For those who begin, and for those whose cursor is too old."""
    spec = replay_spec(spool_bytes=65_536)
    spool = Spool(tmp_path / "spool", spec.spool_bytes)
    for first in range(1, 10_001, 100):
        spool.commit(
            [Captured("temperature", "[degF]", seq, VALUES[seq - 1]) for seq in range(first, first + 100)]
        )
    spool.close()
    async with agent(tmp_path, spec) as running:
        for seq in (0, 17):
            follower = Follower(session, epochs=[spool.epoch], seq=seq)
            readings = follower.readings
            await follower.follow(running.url, lambda found=readings: (spool.epoch, 10_005) in found)  # type: ignore[misc]
            [gap] = follower.gaps
            assert (gap.first_seq, gap.reason) == (seq + 1, readings_pb2.Gap.EVICTED)
            assert min(follower.readings) == (spool.epoch, gap.last_seq + 1)
            assert follower.readings[spool.epoch, 10_005].value == VALUES[10_004], "the recording goes on"


async def test_killed_again_and_again_it_loses_and_doubles_nothing(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """SIGKILL at any moment; the follower has every number once, and the recording in order."""
    follower = Follower(session)
    async with agent(tmp_path, replay_spec()) as running:
        for _ in range(4):
            await follower.follow_readings(running.url, 30)
            await running.kill()
            incarnation, port = running.incarnation, running.port
            await running.start()
            assert running.port == port
            assert running.incarnation != incarnation
        await follower.follow_readings(running.url, 30)
        assert await running.stop() == 0
    assert (len(follower.epochs), follower.gaps) == (1, [])
    assert in_order(follower)
    stored = await dumped(running.spool)
    assert {key: stored[key] for key in follower.readings} == follower.readings
    times = [reading.time_unix_ns for reading in stored.values()]
    assert times == sorted(set(times))


async def test_a_spool_that_was_rolled_back_is_found_out(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """Even when the agent is past the follower's number again before that asks."""
    follower = Follower(session)
    async with agent(tmp_path, replay_spec()) as running:
        await follower.follow_readings(running.url, 10)
        assert await running.stop() == 0
        shutil.copytree(running.spool, tmp_path / "snapshot")
        await running.start()
        await follower.follow(running.url, lambda: follower.seq > len(follower.epochs) + 100)
        await running.kill()
        shutil.rmtree(running.spool)
        (tmp_path / "snapshot").rename(running.spool)
        before = max(seq for _, seq in await dumped(running.spool))
        await running.start()

        async def past() -> bool:
            return (
                int((await (await session.get(f"{running.url}/healthz")).json())["head_seq"]) > follower.seq
            )

        await wait_for("the agent is past the follower's number", past)
        known = len(follower.readings)
        await follower.follow_readings(running.url, 20)
    assert len(follower.epochs) == 2
    assert follower.values()[known:][:20] == list(VALUES[before : before + 20])


async def test_moving_keeps_open_streams(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """New streams find the new address, none the old one; what was open flows on."""
    follower = Follower(session)
    async with agent(tmp_path, replay_spec()) as running:
        before, old_url = follower, running.url
        async with asyncio.TaskGroup() as tasks:
            moved = asyncio.Event()
            seq_at_move = 0
            tasks.create_task(
                before.follow(old_url, lambda: moved.is_set() and before.seq > seq_at_move + 20)
            )
            await wait_for("the stream is open", lambda: before.seq > 0)
            report = await running.move("127.0.0.2", running.port)
            assert report["endpoint"]["address"] == "127.0.0.2"
            seq_at_move = before.seq
            moved.set()
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"{old_url}/healthz")
        after = Follower(session, epochs=[*before.epochs], seq=before.seq)
        await after.follow_readings(running.url, 5)
        report = await running.move("192.0.2.1", 80)  # TEST-NET-1: no machine has it
        assert "192.0.2.1" in report["refused"]
        await after.follow_readings(running.url, 5)
    assert in_order(before)


async def test_a_busy_port_is_replaced(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """What it reports is where it serves."""
    async with agent(tmp_path / "one", replay_spec("one")) as one:
        two = AgentProcess(tmp_path / "two", replay_spec("two"), port=one.port)
        await two.start()
        try:
            assert two.port != one.port
            async with session.get(f"{two.url}/healthz") as response:
                health = await response.json()
            assert (health["sensor_id"], health["incarnation"]) == ("two", two.incarnation)
        finally:
            await two.kill()


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", f"{STREAM_PATH}?after=abc", 400),
        ("GET", f"{STREAM_PATH}?after=00000000000000ff:-1", 400),
        ("GET", "/nothing", 404),
        ("POST", STREAM_PATH, 405),
        ("GET", "/" + "x" * 20_000, 431),
    ],
)
async def test_bad_requests_get_a_problem(
    tmp_path: Path, session: aiohttp.ClientSession, method: str, target: str, status: int
) -> None:
    """RFC 9457, and the agent goes on."""
    async with agent(tmp_path, machine_spec()) as running:
        async with session.request(method, running.url + target) as response:
            assert response.status == status
            assert response.content_type == "application/problem+json"
            problem = await response.json()
            assert (problem["status"], bool(problem["detail"])) == (status, True)
        async with session.get(f"{running.url}/healthz") as response:
            assert response.status == 200


async def test_what_is_no_http_is_answered_and_closed(tmp_path: Path) -> None:
    """Rubbish, another version, half a request."""
    async with agent(tmp_path, machine_spec()) as running:
        for data, answer in (
            (b"\x16\x03\x01\x02\x00\r\n\r\n", b"HTTP/1.1 400 "),
            (b"GET / HTTP/2.0\r\n\r\n", b"HTTP/1.1 400 "),
            (b"GET http://[ HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 "),
            (b"GET / HT", b""),
        ):
            reader, writer = await asyncio.open_connection(running.address, running.port)
            writer.write(data)
            writer.write_eof()
            got = await asyncio.wait_for(reader.read(), 10)
            assert got.startswith(answer)
            assert bool(got) == bool(answer)
            writer.close()


@pytest.mark.parametrize("how", ["stdin", "sigterm"])
async def test_it_ends_in_order(tmp_path: Path, session: aiohttp.ClientSession, how: str) -> None:
    """When its stdin ends (its host is gone) or on SIGTERM; what it captured is on disk."""
    follower = Follower(session)
    spec = replay_spec(flush_ms=10_000)  # so that nothing is committed before the end
    async with agent(tmp_path, spec) as running:
        await asyncio.sleep(0.2)  # captures come due; until they are committed nothing outside shows them
        assert running.process is not None
        assert running.process.stdin is not None
        stream = asyncio.create_task(follower.follow(running.url, lambda: False))
        await wait_for("the stream is open", lambda: follower.first_frames == ["heartbeat"])
        if how == "stdin":
            running.process.stdin.close()
        else:
            running.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running.process.wait(), 5) == 0
        with pytest.raises((AssertionError, aiohttp.ClientError)):
            await stream
    stored = await dumped(running.spool)
    assert len(stored) > 5
    assert [reading.value for reading in stored.values()] == list(VALUES[: len(stored)])


async def test_a_second_agent_waits_until_the_first_has_ended(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """Two writers in one spool would give a number twice."""
    follower = Follower(session)
    async with agent(tmp_path, replay_spec()) as first:
        await follower.follow_readings(first.url, 5)
        second = AgentProcess(tmp_path, first.spec)
        await second.spawn()
        try:
            hearing = asyncio.create_task(second.hear())
            done, _ = await asyncio.wait({hearing}, timeout=0.5)
            assert not done, "it does not serve"
            await follower.follow_readings(first.url, 5)
            assert await first.stop() == 0
            await hearing
            await follower.follow_readings(second.url, 10)
            assert await second.stop() == 0
        finally:
            await second.kill()
    assert in_order(follower)
    third = AgentProcess(tmp_path, first.spec)
    await third.spawn()
    assert await third.stop() == 0, "it may be told to end before it serves"


async def test_a_sensor_of_this_machine(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """Readings of every metric of the spec."""
    follower = Follower(session)
    async with agent(tmp_path, machine_spec()) as running:
        await follower.follow_readings(running.url, 20)
    assert {(r.metric, r.unit) for r in follower.readings.values()} == {
        ("memory_used", "%"),
        ("net_receive", "By/s"),
    }
