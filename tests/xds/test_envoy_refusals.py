"""What a real Envoy refuses is contained: the last good is in force, and everything else flows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from control_plane.resources.model import Resource
from tests.xds.altered import malformed_cluster, refused_cluster, refused_listener, slower_cluster
from tests.xds.rig import ENVOY_TYPES, Fleet, Rig, line, rig
from tests.xds.support import Variant, vm
from wire.names import CLUSTER_TYPE, GATEWAY_LISTENER, LISTENER_TYPE


async def refusals(envoy: Rig) -> int:
    """Return how many responses Envoy refused so far."""
    stats = await envoy.stats(r"(cds|lds|rds.*|cluster\.host\..*)\.update_rejected$")
    return sum(stats.values())


async def flows(envoy: Rig, fleet: Fleet, bad: list[Resource]) -> None:
    """Change other things ten times beside what is refused; all are applied and nothing is refused again."""
    before = await refusals(envoy)
    for seconds in range(11, 21):
        envoy.publish(fleet, [*bad, slower_cluster("other", seconds)])
        await envoy.applied("host.other", f"{seconds}s")
        for type_url in ENVOY_TYPES:
            await envoy.control.settles(type_url)
    assert await refusals(envoy) == before


@pytest.mark.parametrize("bad", [refused_cluster, malformed_cluster])
async def test_a_bad_version_of_a_cluster(
    tmp_path: Path, variant: Variant, bad: Callable[[str], Resource]
) -> None:
    """Its last good version stays in force, with its stream; the good ones of the response are applied."""
    async with rig(tmp_path, variant) as envoy, vm("one", "127.0.0.2") as one, vm("two", "127.0.0.3") as two:
        fleet = {"lab": {"press-1": one}, "other": {"press-2": two}}
        await envoy.settled(fleet, [slower_cluster("lab", 6)])
        stream = await envoy.open("host.lab", "press-1")
        assert await line(stream) == "one"

        envoy.publish(fleet, [bad("lab"), slower_cluster("other", 9)])
        error = await envoy.control.refused(CLUSTER_TYPE, "host.lab")
        assert "host.lab" in error
        await envoy.applied("host.other", "9s")
        await envoy.control.settles(CLUSTER_TYPE)
        status = envoy.control.status(CLUSTER_TYPE)
        assert list(status.rejected) == ["host.lab"]
        assert status.acked["host.lab"] == slower_cluster("lab", 6).version
        assert await refusals(envoy) <= 3
        await flows(envoy, fleet, [bad("lab")])

        running = await envoy.running()
        assert running.clusters["host.lab"]["connect_timeout"] == "6s"
        assert running.sensors == {"host.lab": ["press-1"], "host.other": ["press-2"]}
        assert await envoy.says("host.lab", "press-1") == (200, "one")
        assert await envoy.says("host.other", "press-2") == (200, "two")
        await one.say("never cut")
        assert await line(stream) == "never cut"
        stream.close()

        await envoy.settled(fleet, [slower_cluster("lab", 12)])
        await envoy.applied("host.lab", "12s")
        assert not envoy.control.status(CLUSTER_TYPE).rejected


@pytest.mark.parametrize("bad", [refused_cluster, malformed_cluster])
async def test_a_new_host_with_a_bad_cluster(
    tmp_path: Path, variant: Variant, bad: Callable[[str], Resource]
) -> None:
    """It is left out; a host that comes in the same response, and endpoints, are served."""
    async with rig(tmp_path, variant) as envoy, vm("one", "127.0.0.2") as one, vm("two", "127.0.0.3") as two:
        await envoy.settled({"lab": {"press-1": one}})
        fleet = {"lab": {"press-1": one}, "other": {"press-2": two}, "broken": {}}
        envoy.publish(fleet, [bad("broken")])
        await envoy.control.refused(CLUSTER_TYPE, "host.broken")
        await envoy.applied("host.other", "10s")
        assert await envoy.says("host.other", "press-2") == (200, "two")
        await flows(envoy, fleet, [bad("broken")])
        assert (await envoy.running()).clusters.keys() == {"host.lab", "host.other"}
        await envoy.control.acked(envoy.publish({"lab": {"press-1": one}}), CLUSTER_TYPE)
        assert not envoy.control.status(CLUSTER_TYPE).rejected


async def test_a_bad_listener(tmp_path: Path, variant: Variant) -> None:
    """The gateway goes on serving, and clusters and endpoints change as ever."""
    async with rig(tmp_path, variant) as envoy, vm("one", "127.0.0.2") as one, vm("two", "127.0.0.3") as two:
        fleet = {"lab": {"press-1": one}, "other": {"press-2": two}}
        await envoy.settled(fleet)
        stream = await envoy.open("host.lab", "press-1")
        assert await line(stream) == "one"
        bad = [refused_listener("broken")]
        envoy.publish(fleet, bad)
        assert "address is necessary" in await envoy.control.refused(LISTENER_TYPE, "broken")
        await flows(envoy, fleet, bad)
        assert (await envoy.running()).listeners.keys() == {GATEWAY_LISTENER}
        assert await envoy.stat("listener_manager.listener_modified") == 0
        await one.say("never cut")
        assert await line(stream) == "never cut"
        stream.close()
        assert await envoy.stat("listener_manager.lds.update_rejected") == 1
        await envoy.settled(fleet)
        assert not envoy.control.status(LISTENER_TYPE).rejected


async def test_a_bad_version_of_the_gateway(tmp_path: Path, variant: Variant) -> None:
    """The good one stays in force and cuts no stream, also when it is published again."""
    async with rig(tmp_path, variant) as envoy, vm("one", "127.0.0.2") as one:
        fleet = {"lab": {"press-1": one}, "other": {}}
        await envoy.settled(fleet)
        stream = await envoy.open("host.lab", "press-1")
        assert await line(stream) == "one"
        bad = [refused_listener(GATEWAY_LISTENER)]
        envoy.publish(fleet, bad)
        await envoy.control.refused(LISTENER_TYPE, GATEWAY_LISTENER)
        await flows(envoy, fleet, bad)
        await envoy.settled(fleet)
        assert await envoy.stat("listener_manager.listener_modified") == 0
        assert await envoy.stat("listener_manager.lds.update_rejected") == 1
        await one.say("never cut")
        assert await line(stream) == "never cut"
        assert await envoy.says("host.lab", "press-1") == (200, "one")
        stream.close()
