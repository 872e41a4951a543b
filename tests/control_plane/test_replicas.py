"""Two control planes over one NATS: one leads, the other takes its place, and nobody is told anything new."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

from tests.control_plane.replicas import Replica, Replicated, replicated
from tests.control_plane.rig import machine
from tests.support.nats import NatsServer
from tests.xds.support import eventually

SENSOR = "press-1"


async def streaming(whole: Replicated) -> dict[str, Any]:
    """Start everything, set a rule and add a sensor; return its view once it is live."""
    await whole.start_all()
    rule = {"condition": {"kind": "missing", "for_ms": 600_000}}  # a worker without any asks for them anew
    assert (await whole.api("PUT", "/v1/rules/silent", rule))[0] == 201
    assert (await whole.api("POST", "/v1/sensors", machine(SENSOR, interval_ms=20)))[0] == 201
    return await whole.reaches(SENSOR, "live")


async def row(whole: Replicated) -> dict[str, Any]:
    """Return the sensor's counters."""

    async def answered() -> dict[str, Any] | None:
        status, answer = await whole.api("GET", "/v1/audit")
        return (
            next((each for each in answer["sensors"] if each["sensor_id"] == SENSOR), None)
            if status == 200
            else None
        )

    return await eventually("the audit answers", answered)


async def goes_on(
    whole: Replicated, leader: Replica, before: dict[str, Any], updates: dict[str, int]
) -> None:
    """See that under the new leader no stream was cut, nothing was pushed, and no reading is missing."""
    whole.follow(leader)
    after = await whole.reaches(SENSOR, "live")
    assert after["stream"]["since_unix_ns"] == before["stream"]["since_unix_ns"]
    assert after["revision"] == before["revision"]
    counted = await row(whole)

    async def more() -> bool:
        return bool((await row(whole))["received"] > counted["received"] + 50)

    await eventually("readings flow on", more)
    counted = await row(whole)
    fates = ("aggregated", "duplicate", "quarantined", "too_late", "excluded")
    assert counted["received"] == sum(counted[fate] for fate in fates), counted
    assert (counted["gaps"], counted["duplicate"], counted["undecodable_frames"]) == (0, 0, 0), counted
    assert await whole.updates() == updates
    assert await leader.samples("gaugeway_xds_pushes_total") == 0


async def test_a_leader_that_is_killed_is_followed_by_the_standby(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    """Soon Envoy and worker are at the other one; the dead one then stands by."""
    async with replicated(tmp_path, nats_server) as whole:
        before = await streaming(whole)
        updates = await whole.updates()
        await whole.one.kill()
        took_s = await whole.other.leads(timeout_s=10.0) + await whole.everybody_at(
            whole.other, timeout_s=10.0
        )
        assert took_s < 12.0  # 7 to 8 on a machine that does nothing else
        await goes_on(whole, whole.other, before, updates)
        assert (await whole.api("POST", "/v1/sensors", machine("press-2")))[0] == 201
        await whole.reaches("press-2", "live")
        await whole.one.start()
        status, problem = await whole.one.get("/readyz")
        assert (status, problem["type"]) == (503, "/problems/standby")


async def test_a_leader_that_ends_in_order_is_followed_at_once(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    """It gives the lead up: there and back within seconds."""
    async with replicated(tmp_path, nats_server) as whole:
        before = await streaming(whole)
        updates = await whole.updates()
        for leader, standby in ((whole.one, whole.other), (whole.other, whole.one)):
            leader.signal(signal.SIGTERM)
            await standby.leads(timeout_s=3.0)
            assert await leader.ended() == 0
            await whole.everybody_at(standby, timeout_s=6.0)
            await goes_on(whole, standby, before, updates)
            await leader.start()


async def test_a_leader_that_was_stopped_does_nothing_more(tmp_path: Path, nats_server: NatsServer) -> None:
    """The other one leads and removes a sensor. The stopped one then ends, the sensor stays away."""
    async with replicated(tmp_path, nats_server) as whole:
        before = await streaming(whole)
        await whole.api("POST", "/v1/sensors", machine("press-2"))
        await whole.reaches("press-2", "live")
        updates = await whole.updates()
        whole.one.signal(signal.SIGSTOP)
        await whole.other.leads(timeout_s=10.0)
        await whole.everybody_at(whole.other, timeout_s=15.0)
        await goes_on(whole, whole.other, before, updates)
        await whole.api("DELETE", "/v1/sensors/press-2")
        await whole.gone("press-2")
        known = len(whole.one.events())
        whole.one.signal(signal.SIGCONT)
        assert await whole.one.ended() == 1
        assert "leadership_lost" in whole.one.events()[known:]
        assert not {"vm_ensured", "vm_removed", "node_connected"} & set(whole.one.events()[known:])
        assert not (tmp_path / "lab" / "vms" / "press-2").exists()
        assert (await whole.other.get("/readyz"))[0] == 200
        assert (await whole.sensor("press-2"), await whole.other.nodes()) == (None, 2)


async def test_replicas_lead_only_with_nats(tmp_path: Path, nats_server: NatsServer) -> None:
    """A leader without NATS ends, for it cannot know who leads; nodes go on, and with NATS back one leads."""
    async with replicated(tmp_path, nats_server) as whole:
        await whole.start_replicas()
        nats_server.kill()
        assert await whole.one.ended(timeout_s=6.0) == 1
        assert "does not lead any more" in whole.one.log()
        status, problem = await whole.other.get("/v1/sensors")
        assert (status, problem["title"]) == (503, "This control plane stands by")
        nats_server.start()
        await whole.other.leads(timeout_s=15.0)


async def test_a_standby_says_who_leads(tmp_path: Path, nats_server: NatsServer) -> None:
    """It is alive and not ready, names the leader whatever it is asked, and does not listen for nodes."""
    async with replicated(tmp_path, nats_server) as whole:
        await whole.start_replicas()
        standby = whole.other
        assert await standby.get("/healthz") == (200, {"alive": True})
        for path in ("/readyz", "/", "/v1/sensors", "/metrics"):
            status, problem = await standby.get(path)
            assert (status, problem["type"]) == (503, "/problems/standby")
            assert f"control-a leads, at {whole.one.api_url}" in problem["detail"]
        host, _, port = standby.xds_address.rpartition(":")
        try:
            await asyncio.open_connection(host, int(port))
        except ConnectionRefusedError:
            return
        raise AssertionError("a standby listens for nodes")
