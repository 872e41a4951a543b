"""The lab host as a process with real agents, through its client."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hyperv.errors import RetryableHostError, TerminalHostError
from hyperv.lab.app import LabHostConfig
from hyperv.lab.client import LabClient
from hyperv.lab.vm import AGENT_PORT, LabVmState
from hyperv.model import VmState
from tests.hyperv.support import Follower, LabProcess, replay_spec, wait_for

BLOCK = "127.91.0.0/24"


@asynccontextmanager
async def lab(folder: Path, block: str = BLOCK) -> AsyncIterator[tuple[LabProcess, LabClient]]:
    """Return a running lab host and its client; no agent is left behind."""
    config = LabHostConfig.model_validate({"host_id": "lab", "data_dir": folder, "address_block": block})
    host = LabProcess(config)
    await host.start()
    client = LabClient("lab", host.url)
    try:
        yield host, client
    finally:
        await client.close()
        await host.stop()


def url_of(vm: VmState) -> str:
    """Return where a VM serves."""
    assert vm.endpoint is not None
    return f"http://{vm.endpoint.address}:{vm.endpoint.port}"


def pid_of(vm: VmState) -> int:
    """Return the process of a VM of the lab."""
    assert isinstance(vm, LabVmState)
    assert vm.pid is not None
    return vm.pid


def gone(pid: int) -> bool:
    """Say whether a process has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "Z"


async def the_vm(client: LabClient, holds: Callable[[VmState], bool], what: str) -> VmState:
    """Wait until the only VM is as wanted; return it."""
    found: list[VmState] = []

    async def probe() -> bool:
        found[:] = await client.inventory()
        return len(found) == 1 and holds(found[0])

    await wait_for(what, probe)
    return found[0]


async def test_a_vm_is_ensured_and_serves(tmp_path: Path) -> None:
    """Asking again changes nothing; the inventory says the same."""
    spec = replay_spec()
    async with lab(tmp_path) as (_, client), aiohttp.ClientSession() as session:
        vm = await client.ensure(spec)
        assert (vm.sensor_id, vm.spec_hash, vm.state) == (spec.sensor_id, spec.spec_hash(), "running")
        assert vm.endpoint is not None
        assert vm.endpoint.address.startswith("127.91.0.")
        assert (await client.ensure(spec), await client.inventory()) == (vm, [vm])
        follower = Follower(session)
        await follower.follow_readings(url_of(vm), 10)


async def test_a_changed_spec_restarts_the_agent_over_the_same_spool(tmp_path: Path) -> None:
    """What `ensure` returns is the new run, not the last one's state."""
    async with lab(tmp_path) as (_, client), aiohttp.ClientSession() as session:
        before = await client.ensure(replay_spec())
        follower = Follower(session)
        await follower.follow_readings(url_of(before), 10)
        spec = replay_spec(flush_ms=30)
        after = await client.ensure(spec)
        assert (after.spec_hash, after.state) == (spec.spec_hash(), "running")
        assert (after.vm_id, after.endpoint) == (before.vm_id, before.endpoint)
        assert after.incarnation not in {None, before.incarnation}
        assert pid_of(after) != pid_of(before)
        await follower.follow_readings(url_of(after), 10)
        assert len(follower.epochs) == 1


async def test_many_vms_at_once_get_addresses_of_their_own(tmp_path: Path) -> None:
    """Ensured, removed and ensured again side by side."""
    async with lab(tmp_path) as (_, client):
        names = [f"sensor-{number}" for number in range(6)]
        vms = await asyncio.gather(*(client.ensure(replay_spec(name)) for name in names))
        assert {vm.state for vm in vms} == {"running"}
        assert len({vm.endpoint.address for vm in vms if vm.endpoint}) == 6
        await asyncio.gather(*(client.remove(name) for name in names[:3]))
        assert {vm.sensor_id for vm in await client.inventory()} == set(names[3:])
        assert all(gone(pid_of(vm)) for vm in vms[:3])


async def test_an_address_whose_port_is_taken_is_served_at_another(tmp_path: Path) -> None:
    """Two labs on one machine do not disturb each other."""
    with socket.create_server(("127.91.0.1", AGENT_PORT)):
        async with lab(tmp_path) as (_, client), aiohttp.ClientSession() as session:
            vm = await client.ensure(replay_spec())
            assert vm.endpoint is not None
            assert vm.endpoint.address == "127.91.0.1"
            assert vm.endpoint.port != AGENT_PORT
            await Follower(session).follow_readings(url_of(vm), 5)


async def test_removing_ends_the_agent_and_deletes_its_spool(tmp_path: Path) -> None:
    """A VM of the same name later begins with nothing; removing what is not there is fine."""
    async with lab(tmp_path) as (_, client), aiohttp.ClientSession() as session:
        before = await client.ensure(replay_spec())
        one, two = Follower(session), Follower(session)
        await one.follow_readings(url_of(before), 5)
        await client.remove("press-1")
        await client.remove("press-1")
        assert gone(pid_of(before))
        assert list((tmp_path / "vms").iterdir()) == []
        after = await client.ensure(replay_spec())
        assert after.vm_id != before.vm_id
        await two.follow_readings(url_of(after), 5)
        assert one.epochs != two.epochs


async def test_changes_are_told(tmp_path: Path) -> None:
    """A long poll returns when something changed, at its time when nothing did."""
    async with lab(tmp_path) as (_, client):
        version = await client.wait_change(-1, 5)
        assert await client.wait_change(version, 0.05) == version
        waiting = asyncio.create_task(client.wait_change(version, 20))
        await client.ensure(replay_spec())
        assert await waiting > version


async def test_a_moved_vm_serves_elsewhere_and_keeps_its_streams(tmp_path: Path) -> None:
    """Over the client's own HTTP; the endpoint in the answer is the new one."""
    async with lab(tmp_path) as (host, client), aiohttp.ClientSession() as session:
        vm = await client.ensure(replay_spec())
        follower, moved = Follower(session), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(follower.follow(url_of(vm), moved.is_set))
            await wait_for("the stream is open", lambda: follower.seq > 0)
            status, body = await post(session, f"{host.url}/vms/press-1/move", b'{"address": "127.91.0.77"}')
            assert (status, body["endpoint"]["address"], body["state"]) == (200, "127.91.0.77", "running")
            moved.set()
        [now] = await client.inventory()
        assert now.endpoint == LabVmState.model_validate(body).endpoint
        assert now.incarnation == vm.incarnation
        await follower.follow_readings(url_of(now), 5)
        status, body = await post(session, f"{host.url}/vms/press-1/move", b"")
        assert status == 200
        assert body["endpoint"]["address"] == "127.91.0.1", "any that is free"


async def post(session: aiohttp.ClientSession, url: str, data: bytes) -> tuple[int, dict[str, Any]]:
    """Return (status, JSON)."""
    async with session.post(url, data=data) as response:
        return response.status, await response.json()


async def test_a_move_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """With a sentence, and everything stays as it was."""
    async with lab(tmp_path) as (host, client), aiohttp.ClientSession() as session:
        await client.ensure(replay_spec("press-1"))
        await client.ensure(replay_spec("press-2"))
        before = await client.inventory()
        for sensor_id, body, status, says in (
            ("press-1", b'{"address": "127.91.0.2"}', 422, "that of the VM of press-2"),
            ("press-1", b'{"address": "127.92.0.1"}', 422, "must be within 127.91.0.0/24"),
            ("press-1", b'{"address": "here"}', 422, "address"),
            ("press-1", b'{"address": null, "more": 1}', 422, "more"),
            ("press-1", b"not JSON", 422, "JSON"),
            ("press-1", b"[]", 422, "MoveWish"),
            ("press-9", b"{}", 404, "press-9"),
        ):
            got, problem = await post(session, f"{host.url}/vms/{sensor_id}/move", body)
            assert (got, problem["status"]) == (status, status)
            assert says in problem["detail"]
        assert await client.inventory() == before


async def test_bad_requests_are_refused(tmp_path: Path) -> None:
    """A spec that is none, a name that is not the path's, numbers that are none: 422, never 500."""
    async with lab(tmp_path) as (host, client), aiohttp.ClientSession() as session:
        good = replay_spec().model_dump(mode="json")
        for path, body in (
            ("press-1", {}),
            ("press-1", good | {"flush_ms": "soon"}),
            ("press-1", good | {"sensor_id": "../up"}),
            ("press-2", good),
        ):
            async with session.put(f"{host.url}/vms/{path}", json=body) as response:
                assert (response.status, response.content_type) == (422, "application/problem+json")
        for query in ("after=x", "timeout_s=soon", "timeout_s=nan", "timeout_s=-1"):
            async with session.get(f"{host.url}/events?{query}") as response:
                assert response.status == 422
        assert await client.inventory() == []


async def test_a_killed_agent_is_restarted_where_it_was(tmp_path: Path) -> None:
    """The same address and spool, another incarnation; no reading is lost or doubled."""
    async with lab(tmp_path) as (_, client), aiohttp.ClientSession() as session:
        vm = await client.ensure(replay_spec())
        follower = Follower(session)
        for _ in range(3):
            await follower.follow_readings(url_of(vm), 20)
            os.kill(pid_of(vm), signal.SIGKILL)
            again = await the_vm(
                client,
                lambda now, was=vm: now.state == "running" and now.incarnation != was.incarnation,  # type: ignore[misc]
                "the agent is restarted",
            )
            assert (again.endpoint, again.vm_id) == (vm.endpoint, vm.vm_id)
            vm = again
        await follower.follow_readings(url_of(vm), 20)
    assert (len(follower.epochs), follower.gaps) == (1, [])


async def test_an_agent_that_cannot_run_is_failed_and_says_why(tmp_path: Path) -> None:
    """`ensure` returns at once with the state; it runs as soon as the cause is gone."""
    folder = tmp_path / "vms" / "press-1"
    folder.mkdir(parents=True)
    (folder / "spool").write_text("in the way")
    async with lab(tmp_path) as (_, client):
        vm = await client.ensure(replay_spec())
        assert vm.state == "failed"
        assert vm.endpoint is None
        assert "ended with 1 (see agent.log); starting again in" in (vm.message or "")
        assert "spool" in (folder / "agent.log").read_text()
        (folder / "spool").unlink()
        healed = await the_vm(client, lambda now: now.state == "running", "it runs")
        assert healed.message is None


async def test_a_restarted_lab_finds_its_vms(tmp_path: Path) -> None:
    """In order: agents end with it, and begin again over the same spools at the same addresses."""
    async with aiohttp.ClientSession() as session:
        follower = Follower(session)
        async with lab(tmp_path) as (host, client):
            before = await client.ensure(replay_spec())
            version = await client.wait_change(-1, 5)
            await follower.follow_readings(url_of(before), 10)
            await host.stop()
            assert host.process is not None
            assert host.process.returncode == 0
            assert gone(pid_of(before))
        (tmp_path / "vms" / ".removed-x").mkdir()
        (tmp_path / "vms" / "unreadable").mkdir()
        (tmp_path / "vms" / "unreadable" / "vm.json").write_text("{")
        async with lab(tmp_path) as (_, client):
            assert await client.wait_change(version, 5) != version
            after = await the_vm(client, lambda now: now.state == "running", "it runs again")
            assert (after.vm_id, after.endpoint) == (before.vm_id, before.endpoint)
            assert not (tmp_path / "vms" / ".removed-x").exists()
            await follower.follow_readings(url_of(after), 10)
            assert (await client.ensure(replay_spec("unreadable"))).state == "running"
    assert (len(follower.epochs), follower.gaps) == (1, [])


async def test_agents_end_with_a_lab_that_is_killed(tmp_path: Path) -> None:
    """Their stdin ends; a new lab starts them again at once and they wait for the spool, not share it."""
    async with aiohttp.ClientSession() as session:
        follower = Follower(session)
        async with lab(tmp_path) as (host, client):
            before = await client.ensure(replay_spec())
            await follower.follow_readings(url_of(before), 10)
            await host.kill()
            await host.start()
            again = LabClient("lab", host.url)
            after = await the_vm(again, lambda now: now.state == "running", "it runs again")
            await again.close()
            await wait_for("the old agent is gone", lambda: gone(pid_of(before)))
            assert (after.vm_id, pid_of(after)) != (before.vm_id, pid_of(before))
            await follower.follow_readings(url_of(after), 10)
    assert (len(follower.epochs), follower.gaps) == (1, [])


async def test_a_block_that_is_used_up_is_said_so(tmp_path: Path) -> None:
    """It may have room again later, so trying again is right."""
    async with lab(tmp_path, "127.91.1.0/30") as (_, client):
        await client.ensure(replay_spec("one"))
        await client.ensure(replay_spec("two"))
        with pytest.raises(RetryableHostError, match=r"127\.91\.1\.0/30 is used up"):
            await client.ensure(replay_spec("three"))
        await client.remove("one")
        assert (await client.ensure(replay_spec("three"))).state == "running"


async def test_what_the_host_refuses_is_terminal(tmp_path: Path) -> None:
    """The reason is the host's own sentence."""
    async with lab(tmp_path) as (_, client):
        with pytest.raises(TerminalHostError, match="sensor_id") as refused:
            await client.ensure(replay_spec("Not-A-Label"))
        assert refused.value.host_id == "lab"
