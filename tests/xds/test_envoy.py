"""The ADS server against a real Envoy."""

from __future__ import annotations

from pathlib import Path

from tests.xds.rig import rig
from tests.xds.support import vm
from wire.names import (
    CLUSTER_HEADER,
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LEASE_HEADER,
    LISTENER_TYPE,
    ROUTE_TYPE,
    SENSOR_HEADER,
)


async def test_sensors_are_added_and_removed_while_envoy_runs(tmp_path: Path) -> None:
    """Each sensor reaches its own VM; a new one works and a removed one gets 503 without a restart."""
    async with rig(tmp_path) as envoy, vm("one", "127.0.0.2") as one, vm("two", "127.0.0.3") as two:
        first = envoy.publish({"lab": {"press-1": one}})
        await envoy.control.acked(first, CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE)
        assert await envoy.says("host.lab", "press-1") == (200, "one")
        assert (await envoy.says("host.lab", "press-2"))[0] == 503

        await envoy.control.acked(envoy.publish({"lab": {"press-1": one, "press-2": two}}), ENDPOINT_TYPE)
        assert await envoy.says("host.lab", "press-2") == (200, "two")
        assert await envoy.says("host.lab", "press-1") == (200, "one")

        await envoy.control.acked(envoy.publish({"lab": {"press-2": two}}), ENDPOINT_TYPE)
        assert (await envoy.says("host.lab", "press-1"))[0] == 503
        assert await envoy.says("host.lab", "press-2") == (200, "two")
        assert envoy.processor.statuses == ["200", "503", "200", "200", "503", "200"]


async def test_identity_comes_from_envoy_and_stays_out_of_the_vm(tmp_path: Path) -> None:
    """The worker is told sensor and lease; the VM sees none of the follower's headers."""
    async with rig(tmp_path) as envoy, vm("one", "127.0.0.2") as one:
        envoy.publish({"lab": {"press-1": one}})
        assert await envoy.says("host.lab", "press-1") == (200, "one")
        told = envoy.processor.metadata[0]
        assert (told[SENSOR_HEADER], told[LEASE_HEADER]) == ("press-1", "lease of press-1")
        seen = {name.lower() for name in one.requests[0]}
        assert not seen & {SENSOR_HEADER, LEASE_HEADER, CLUSTER_HEADER}
