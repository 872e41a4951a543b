"""The worker's ADS client against a scripted control plane over real gRPC."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from structlog.testing import capture_logs

from ext_proc.worker.ads_client import AdsClient
from ext_proc.worker.ads_state import AdsState, Change
from ext_proc.worker.errors import NotAppliedError
from ext_proc.worker.resources import WORKER_TYPES
from tests.worker.control_plane import ScriptedControlPlane, scripted_control_plane
from wire.gen.gaugeway.envoy.v1 import discovery_pb2
from wire.names import LEASE_TYPE, SENSOR_TYPE, WORKER_ROLE


class Applied:
    """Applies by noting it down; names in `gates` wait for their event, names in `refused` fail."""

    def __init__(self) -> None:
        self.done: list[tuple[str, bytes | None]] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.refused: dict[str, str] = {}
        self.waiting: asyncio.Queue[str] = asyncio.Queue()

    def heard(self, type_url: str, *, empty: bool) -> None:
        """Take no note of it."""

    async def apply(self, type_url: str, change: Change) -> None:
        """Bring a change into force, or not."""
        assert type_url in WORKER_TYPES
        if change.name in self.gates:
            self.waiting.put_nowait(change.name)
            await self.gates[change.name].wait()
        if change.name in self.refused:
            raise NotAppliedError(self.refused[change.name])
        self.done.append((change.name, change.body))


@asynccontextmanager
async def client(plane: ScriptedControlPlane, applied: Applied) -> AsyncIterator[AdsClient]:
    """Return a running client that waits at most 0.3 s for an application."""
    node = discovery_pb2.Node(id="worker-1", cluster=WORKER_ROLE)
    one = AdsClient([f"127.0.0.1:{plane.port}"], AdsState(node, WORKER_TYPES), applied, apply_s=0.3)
    task = asyncio.create_task(one.run())
    await plane.connected()
    try:
        yield one
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_acknowledged_when_applied() -> None:
    """An ACK comes after the application, a removal is applied too, and a refusal is a sentence."""
    applied = Applied()
    async with scripted_control_plane() as plane, client(plane, applied):
        assert await plane.answer(await plane.put(SENSOR_TYPE, "a", b"1")) is None
        assert applied.done == [("a", b"1")]
        applied.refused["b"] = "b: metrics must not be empty"
        assert await plane.answer(await plane.put(SENSOR_TYPE, "b", b"2")) == applied.refused["b"]
        assert await plane.unassign("a") is None
        assert applied.done == [("a", b"1"), ("a", None)]


async def test_types_do_not_wait_for_each_other() -> None:
    """A lease that takes its time does not delay a sensor."""
    applied = Applied()
    applied.gates["0"] = asyncio.Event()
    async with scripted_control_plane() as plane, client(plane, applied):
        lease = await plane.put(LEASE_TYPE, "0", b"x")
        assert await plane.answer(await plane.put(SENSOR_TYPE, "a", b"1"), timeout_s=5) is None
        assert lease not in plane.answers
        applied.gates["0"].set()
        assert await plane.answer(lease) is None


async def test_late_applications_are_refused_then_told() -> None:
    """After the limit there is a NACK; when it is in force after all, a new stream says so."""
    applied = Applied()
    applied.gates["a"] = asyncio.Event()
    async with scripted_control_plane() as plane, client(plane, applied):
        answer = await plane.answer(await plane.put(SENSOR_TYPE, "a", b"1"))
        assert answer == "a: not applied within 0.3 s, still trying"
        assert applied.done == []
        plane.subscriptions.append({})
        applied.gates["a"].set()
        await plane.connected()
        assert plane.subscriptions[-1][SENSOR_TYPE] == {"a": plane.resources[SENSOR_TYPE]["a"].version}
        assert applied.done == [("a", b"1")]


async def test_a_late_removal_is_told_by_a_new_stream() -> None:
    """A sensor that could not be let go in time is not listed once it is gone."""
    applied = Applied()
    async with scripted_control_plane() as plane, client(plane, applied):
        assert await plane.answer(await plane.put(SENSOR_TYPE, "a", b"1")) is None
        applied.gates["a"] = asyncio.Event()
        assert "still trying" in (await plane.unassign("a") or "")
        plane.subscriptions.append({})
        applied.gates["a"].set()
        await plane.connected()
        assert plane.subscriptions[-1][SENSOR_TYPE] == {}


async def test_the_control_plane_may_come_late_and_go() -> None:
    """A client waits for its control plane, and lists what it has when it meets it again."""
    applied = Applied()
    async with scripted_control_plane() as plane:
        await plane.stop()
        node = discovery_pb2.Node(id="worker-1", cluster=WORKER_ROLE)
        one = AdsClient([f"127.0.0.1:{plane.port}"], AdsState(node, WORKER_TYPES), applied)
        task = asyncio.create_task(one.run())
        for number in range(3):
            await plane.start()
            await plane.connected()
            has = plane.subscriptions[-1][SENSOR_TYPE]
            assert sorted(has) == [str(earlier) for earlier in range(number)]
            assert await plane.answer(await plane.put(SENSOR_TYPE, str(number), b"x")) is None
            plane.subscriptions.append({})
            await plane.stop()
        assert [name for name, _ in applied.done] == ["0", "1", "2"]
        task.cancel()
        await asyncio.wait({task})


async def test_a_control_plane_that_stays_away_is_tried_again() -> None:
    """Refused connections end nothing: what was accepted stays in force until it is back."""
    applied = Applied()
    async with scripted_control_plane() as plane:
        await plane.stop()
        node = discovery_pb2.Node(id="worker-1", cluster=WORKER_ROLE)
        one = AdsClient([f"127.0.0.1:{plane.port}"], AdsState(node, WORKER_TYPES), applied)
        with capture_logs() as logged:
            task = asyncio.create_task(one.run())
            async with asyncio.timeout(20):
                while sum(each["event"] == "control_plane_away" for each in logged) < 3:
                    assert not task.done(), task.exception()
                    await asyncio.sleep(0.01)
        await plane.start()
        await plane.connected()
        task.cancel()
        await asyncio.wait({task})


async def test_a_stream_that_ends_while_a_resource_is_applied_is_opened_again() -> None:
    """Its answer can no longer be written, which is no failure of the client's."""
    applied = Applied()
    async with scripted_control_plane() as plane, client(plane, applied):
        for number in range(3):
            name = f"late-{number}"
            gate = applied.gates[name] = asyncio.Event()
            await plane.put(SENSOR_TYPE, name, b"x")
            async with asyncio.timeout(20):
                while await applied.waiting.get() != name:  # earlier ones may be sent again
                    pass
            plane.subscriptions.append({})
            await plane.stop()
            gate.set()
            await plane.start()
            await plane.connected()


async def test_a_replica_that_answers_is_found() -> None:
    """One address refuses, one takes the connection and says nothing: the third is the control plane."""
    with socket.create_server(("127.0.0.1", 0)) as closed, socket.create_server(("127.0.0.1", 0)) as mute:
        refusing, silent = closed.getsockname()[1], mute.getsockname()[1]
        closed.close()
        async with scripted_control_plane() as plane:
            addresses = [f"127.0.0.1:{port}" for port in (refusing, silent, plane.port)]
            node = discovery_pb2.Node(id="worker-1", cluster=WORKER_ROLE)
            task = asyncio.create_task(AdsClient(addresses, AdsState(node, WORKER_TYPES), Applied()).run())
            await plane.connected()
            task.cancel()
            await asyncio.wait({task})


async def test_a_client_follows_the_control_plane_to_another_address() -> None:
    """Back and forth: each time it states what it has, and asks the one that answered last first."""
    async with scripted_control_plane() as one, scripted_control_plane() as other:
        await other.stop()
        node = discovery_pb2.Node(id="worker-1", cluster=WORKER_ROLE)
        addresses = [f"127.0.0.1:{plane.port}" for plane in (one, other)]
        task = asyncio.create_task(AdsClient(addresses, AdsState(node, WORKER_TYPES), Applied()).run())
        await one.connected()
        assert await one.answer(await one.put(SENSOR_TYPE, "a", b"1")) is None
        other.resources = one.resources
        for here, there in ((one, other), (other, one)):
            there.subscriptions.append({})
            await here.stop()
            await there.start()
            await there.connected()
            assert list(there.subscriptions[-1][SENSOR_TYPE]) == ["a"]
        task.cancel()
        await asyncio.wait({task})
