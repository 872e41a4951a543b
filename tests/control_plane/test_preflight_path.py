"""The pre-flight check on the path from the API to a real Envoy, switched on and off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from control_plane.app import PASSES, serve
from control_plane.config import HostConfig
from control_plane.resources import envoy
from control_plane.resources.cluster import host_cluster_resource
from control_plane.resources.model import Resource, new_resource
from envoy_bootstrap.admin import AdminClient
from tests.control_plane.rig import Plant, machine, plant
from tests.support.nats import NatsServer
from tests.xds.support import eventually
from wire.names import CLUSTER_TYPE, host_cluster

BAD_HOST = "misfit"
REJECTED = "cluster_manager.cds.update_rejected"
NO_TIMEOUT = "ClusterValidationError.ConnectTimeout: value must be greater than 0s"


def cluster_of(host_id: str) -> Resource:
    """Return the cluster of a host; that of one host breaks a rule: its connect_timeout is 0."""
    good = host_cluster_resource(host_id)
    if host_id != BAD_HOST:
        return good
    return new_resource(CLUSTER_TYPE, good.name, good.body + b"\x22\x02\x08\x00", good.references)


async def start(whole: Plant, *, preflight: bool) -> None:
    """Start everything, with a host whose cluster is bad."""
    config = whole.config()
    hosts = (*config.hosts, HostConfig(id=BAD_HOST, url="http://127.0.0.1:9"))
    config = config.model_copy(update={"hosts": hosts, "preflight": preflight})
    await whole.control.start(lambda ready: serve(config, ready, None))


async def rejected(whole: Plant) -> int:
    """Return how many updates of clusters Envoy has refused."""
    assert whole.envoy is not None
    async with AdminClient(whole.envoy.admin_url) as admin:
        return (await admin.stats(f"^{REJECTED}$"))[REJECTED]


@pytest.mark.parametrize("preflight", [True, False])
async def test_envoy_is_spared_what_it_would_refuse(
    tmp_path: Path, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, *, preflight: bool
) -> None:
    """Either way good sensors are live; with the check, Envoy never sees the bad cluster."""
    monkeypatch.setattr(envoy, "host_cluster_resource", cluster_of)
    async with plant(tmp_path, nats_server) as whole:
        await whole.start_lab()
        await start(whole, preflight=preflight)
        await whole.start_envoy()
        await whole.start_worker()
        status, _ = await whole.api("POST", "/v1/sensors", machine("press-1"))
        assert status == 201
        await whole.reaches("press-1", "live")
        passes = tmp_path / "control" / PASSES
        if preflight:
            assert await rejected(whole) == 0
            passed = {name for _, name, _ in json.loads(passes.read_text())["passed"]}
            assert passed == {"gateway", host_cluster("lab")}
        else:

            async def refused() -> bool:
                return await rejected(whole) > 0

            await eventually("Envoy refuses the bad cluster", refused)
            assert not passes.exists()


async def test_a_sensor_says_why_its_host_is_held_back(
    tmp_path: Path, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Envoy's own words; a restart with what passed on disk lets the rest through at once."""
    monkeypatch.setattr(envoy, "host_cluster_resource", cluster_of)
    async with plant(tmp_path, nats_server) as whole:
        await whole.start_lab()
        for _ in range(2):
            await start(whole, preflight=True)
            await whole.start_envoy()
            await whole.api("POST", "/v1/sensors", {**machine("press-2"), "host": BAD_HOST})
            view = await whole.reaches("press-2", "rejected")
            assert NO_TIMEOUT in view["message"]
            assert await rejected(whole) == 0
            assert whole.envoy is not None
            await whole.envoy.stop()
            await whole.control.stop()
