"""A real Envoy that comes back: nothing is sent that it has, and nothing is cut."""

from __future__ import annotations

from pathlib import Path

from tests.xds.altered import refused_cluster, slower_cluster
from tests.xds.rig import ControlPlane, Relay, Rig, fleet_snapshot, line, rig
from tests.xds.support import Variant, vm, wait_cache
from wire.names import CLUSTER_TYPE, ENDPOINT_TYPE


async def unchanged(envoy: Rig, before: dict[str, int]) -> None:
    """See that Envoy took no configuration since `before`, and that none was sent."""
    assert await envoy.updates() == before
    assert envoy.control.pushes() == 0


async def test_a_restarted_control_plane_sends_nothing_that_envoy_has(
    tmp_path: Path, variant: Variant
) -> None:
    """The reconnect alone proves what Envoy runs: revisions count as acknowledged, the next change flows."""
    async with rig(tmp_path, variant) as envoy, vm("one", "127.0.0.2") as one, vm("two", "127.0.0.3") as two:
        fleet = {"lab": {"press-1": one}, "empty": {}}
        await envoy.settled(fleet)
        stream = await envoy.open("host.lab", "press-1")
        assert await line(stream) == "one"
        before = await envoy.updates()
        for _ in range(2):
            await envoy.restart_control_plane()
            await envoy.settled(fleet)
            await unchanged(envoy, before)
        fleet["lab"]["press-2"] = two
        await envoy.settled(fleet)
        assert envoy.control.pushes() == 1
        assert await envoy.says("host.lab", "press-2") == (200, "two")
        await one.say("never cut")
        assert await line(stream) == "never cut"
        stream.close()


async def test_a_control_plane_that_is_still_loading_changes_nothing(
    tmp_path: Path, variant: Variant
) -> None:
    """Envoy asks before anything is published: it is held, and keeps all that it has."""
    async with rig(tmp_path, variant) as envoy, vm("one", "127.0.0.2") as one:
        fleet = {"lab": {"press-1": one}}
        await envoy.settled(fleet)
        before = await envoy.updates()
        await envoy.restart_control_plane()
        cache = envoy.control.cache
        await wait_cache(
            cache, "Envoy has asked", lambda: any(len(each.types) == 4 for each in cache.nodes())
        )
        await unchanged(envoy, before)
        assert await envoy.says("host.lab", "press-1") == (200, "one")
        await envoy.settled(fleet)
        await unchanged(envoy, before)


async def test_what_changed_meanwhile_is_made_up_for(tmp_path: Path, variant: Variant) -> None:
    """Hosts that came and went, endpoints that moved, while there was no control plane."""
    async with rig(tmp_path, variant) as envoy, vm("one", "127.0.0.2") as one, vm("two", "127.0.0.3") as two:
        await envoy.settled({"lab": {"press-1": one}, "going": {"press-2": two}})
        await envoy.restart_control_plane()
        revision = envoy.publish(
            {"lab": {"press-2": two}, "coming": {"press-1": one}}, [slower_cluster("lab", 7)]
        )
        await envoy.control.acked(revision)
        running = await envoy.running()
        assert running.clusters.keys() == {"host.lab", "host.coming"}
        assert running.clusters["host.lab"]["connect_timeout"] == "7s"
        assert {name: running.sensors[name] for name in running.clusters} == {
            "host.lab": ["press-2"],
            "host.coming": ["press-1"],
        }
        assert await envoy.says("host.coming", "press-1") == (200, "one")
        stats = await envoy.stats(r"(init_fetch_timeout|update_rejected)$")
        assert not any(stats.values()), stats


async def test_a_restarted_envoy_gets_everything(tmp_path: Path, variant: Variant) -> None:
    """It states nothing, whatever it was sent before, and warms up like a new one."""
    async with rig(tmp_path, variant) as envoy, vm("one", "127.0.0.2") as one:
        fleet = {"lab": {"press-1": one}, "empty": {}}
        await envoy.settled(fleet)
        for _ in range(2):
            since = envoy.control.connected_since()
            await envoy.envoy.kill()
            await envoy.envoy.start()
            await envoy.control.connected(after=since)
            assert await envoy.says("host.lab", "press-1") == (200, "one")
            await envoy.control.acked(envoy.control.revision)
            assert (await envoy.running()).sensors == {"host.lab": ["press-1"], "host.empty": []}
            stats = await envoy.stats(r"(init_fetch_timeout|update_rejected)$")
            assert not any(stats.values()), stats


async def test_an_envoy_that_moves_between_replicas_sees_no_change(tmp_path: Path, variant: Variant) -> None:
    """Two control planes with equal content but other revisions: back and forth, nothing is sent."""
    other_plane = ControlPlane(revision=41)
    relay = Relay(0)
    await relay.start()
    try:
        async with rig(tmp_path, variant, xds_port=relay.port) as envoy, vm("one", "127.0.0.2") as one:
            first, fleet = envoy.control, {"lab": {"press-1": one}, "empty": {}}
            relay.lead_to(first.port)
            await envoy.settled(fleet)
            before, sent = await envoy.updates(), first.pushes()
            await other_plane.start()
            revision = other_plane.publish(fleet_snapshot(dict(reversed(fleet.items()))))
            since = first.connected_since()
            relay.lead_to(other_plane.port)
            await other_plane.acked(revision)
            relay.lead_to(first.port)
            await first.connected(after=since)
            await first.acked(first.revision)
            assert await envoy.updates() == before
            assert (first.pushes(), other_plane.pushes()) == (sent, 0)
            assert await envoy.says("host.lab", "press-1") == (200, "one")
    finally:
        await relay.stop()
        await other_plane.server.stop()


async def test_a_broken_stream_does_not_lift_a_quarantine(tmp_path: Path, variant: Variant) -> None:
    """An Envoy that lost its stream is not sent again what it refused; a restarted one is, once."""
    relay = Relay(0)
    await relay.start()
    try:
        async with rig(tmp_path, variant, xds_port=relay.port) as envoy, vm("one", "127.0.0.2") as one:
            relay.lead_to(envoy.control.port)
            fleet = {"lab": {"press-1": one}, "other": {}}
            await envoy.settled(fleet)
            envoy.publish(fleet, [refused_cluster("lab"), slower_cluster("other", 7)])
            await envoy.control.refused(CLUSTER_TYPE, "host.lab")
            await envoy.control.settles(CLUSTER_TYPE)
            await envoy.applied("host.other", "7s")
            for seconds in (8, 9):
                since = envoy.control.connected_since()
                relay.lead_to(envoy.control.port)
                await envoy.control.connected(after=since)
                envoy.publish(fleet, [refused_cluster("lab"), slower_cluster("other", seconds)])
                await envoy.applied("host.other", f"{seconds}s")
                await envoy.control.settles(CLUSTER_TYPE)
                await envoy.control.settles(ENDPOINT_TYPE)
            assert await envoy.stat("cluster_manager.cds.update_rejected") == 1
            assert list(envoy.control.status(CLUSTER_TYPE).rejected) == ["host.lab"]
            assert await envoy.says("host.lab", "press-1") == (200, "one")
    finally:
        await relay.stop()
