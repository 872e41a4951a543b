"""What a real Envoy does with changes: it warms, updates and drains without a pause."""

from __future__ import annotations

from pathlib import Path

from tests.xds.altered import slower_cluster
from tests.xds.rig import Rig, line, rig
from tests.xds.support import Variant, eventually, vm
from wire.names import CLUSTER_TYPE, ENDPOINT_TYPE, GATEWAY_LISTENER


async def no_timeouts(envoy: Rig) -> bool:
    """Return whether Envoy got everything that it waited for, and refused none of it."""
    stats = await envoy.stats(r"(init_fetch_timeout|update_rejected|update_failure)$")
    return len(stats) > 3 and not any(stats.values())


async def test_a_cold_envoy_warms_up_without_waiting(tmp_path: Path, variant: Variant) -> None:
    """Clusters, endpoints, listener and routes come in order: nothing waits for a timeout or is refused."""
    async with rig(tmp_path, variant) as envoy, vm("one", "127.0.0.2") as one, vm("two", "127.0.0.3") as two:
        await envoy.settled({"lab": {"press-1": one}, "other": {"press-2": two}, "empty": {}})
        running = await envoy.running()
        assert running.clusters.keys() == {"host.lab", "host.other", "host.empty"}
        assert running.warming == []
        assert running.listeners.keys() == {GATEWAY_LISTENER}
        assert running.sensors == {"host.lab": ["press-1"], "host.other": ["press-2"], "host.empty": []}
        assert await envoy.stat("cluster_manager.cds.update_success") == 1
        assert await envoy.stat("listener_manager.lds.update_success") == 1
        assert await no_timeouts(envoy)
        assert await envoy.says("host.lab", "press-1") == (200, "one")


async def test_a_changed_cluster_warms_with_the_endpoints_that_it_has(
    tmp_path: Path, variant: Variant
) -> None:
    """The new version takes over at once, with endpoints that did not change; open streams go on."""
    async with rig(tmp_path, variant) as envoy, vm("one", "127.0.0.2") as one:
        fleet = {"lab": {"press-1": one}}
        await envoy.settled(fleet)
        stream = await envoy.open("host.lab", "press-1")
        assert await line(stream) == "one"
        for seconds in (7, 8):
            await envoy.settled(fleet, [slower_cluster("lab", seconds)])
            running = await envoy.running()
            assert running.clusters["host.lab"]["connect_timeout"] == f"{seconds}s"
            assert (running.warming, running.sensors) == ([], {"host.lab": ["press-1"]})
            assert await envoy.says("host.lab", "press-1") == (200, "one")
        assert await envoy.stat("cluster_manager.cluster_modified") == 2
        assert await no_timeouts(envoy)
        await one.say("still there")
        assert await line(stream) == "still there"
        stream.close()


async def test_a_host_comes_and_drains(tmp_path: Path, variant: Variant) -> None:
    """Its endpoints go first and its cluster last; a stream to it that is open goes on to its own end."""
    async with rig(tmp_path, variant) as envoy, vm("one", "127.0.0.2") as one, vm("two", "127.0.0.3") as two:
        await envoy.settled({"lab": {"press-1": one}})
        await envoy.settled({"lab": {"press-1": one}, "other": {"press-2": two}})
        stream = await envoy.open("host.other", "press-2")
        assert await line(stream) == "two"

        await envoy.settled({"lab": {"press-1": one}, "other": {}})
        assert (await envoy.running()).sensors == {"host.lab": ["press-1"], "host.other": []}
        assert (await envoy.says("host.other", "press-2"))[0] == 503
        await two.say("not cut")
        assert await line(stream) == "not cut"

        await envoy.control.acked(envoy.publish({"lab": {"press-1": one}}), CLUSTER_TYPE)
        running = await envoy.running()
        assert running.clusters.keys() == {"host.lab"}
        assert running.sensors.get("host.lab") == ["press-1"]
        await two.say("not even now")
        assert await line(stream) == "not even now"
        stream.close()
        assert await envoy.says("host.lab", "press-1") == (200, "one")
        assert await no_timeouts(envoy)


async def test_the_last_host_goes_and_another_comes(tmp_path: Path, variant: Variant) -> None:
    """An Envoy without clusters asks for no endpoints, and is told none; the next host works at once."""
    async with rig(tmp_path, variant) as envoy, vm("one", "127.0.0.2") as one:
        await envoy.settled({"lab": {"press-1": one}})
        await envoy.control.acked(envoy.publish({}), CLUSTER_TYPE)

        async def gone() -> bool:
            return not (await envoy.running()).clusters

        await eventually("no cluster is left", gone)
        await envoy.settled({"next": {"press-1": one}})
        assert (await envoy.running()).sensors == {"host.next": ["press-1"]}
        assert await envoy.says("host.next", "press-1") == (200, "one")
        assert await no_timeouts(envoy)


async def test_a_vm_that_moves_is_reached_where_it_is(tmp_path: Path, variant: Variant) -> None:
    """Another address, another host: new streams go to it, and the open one is the follower's to reset."""
    async with rig(tmp_path, variant) as envoy, vm("old", "127.0.0.2") as old, vm("new", "127.0.0.3") as new:
        await envoy.settled({"lab": {"press-1": old}, "other": {}})
        stream = await envoy.open("host.lab", "press-1")
        assert await line(stream) == "old"
        await envoy.control.acked(envoy.publish({"lab": {"press-1": new}, "other": {}}), ENDPOINT_TYPE)
        assert await envoy.says("host.lab", "press-1") == (200, "new")
        await envoy.control.acked(envoy.publish({"lab": {}, "other": {"press-1": new}}), ENDPOINT_TYPE)
        assert await envoy.says("host.other", "press-1") == (200, "new")
        assert (await envoy.says("host.lab", "press-1"))[0] == 503
        await old.say("still the old one")
        assert await line(stream) == "still the old one"
        stream.close()
