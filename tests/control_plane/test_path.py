"""The control plane with a real NATS, Envoy, worker and lab host."""

from __future__ import annotations

from pathlib import Path

from tests.control_plane.rig import machine, now_s, plant
from tests.support.nats import NatsServer


async def test_a_sensor_is_added_and_removed(tmp_path: Path, nats_server: NatsServer) -> None:
    """It becomes live by itself within 3 s; removed, it is gone and its VM with it."""
    async with plant(tmp_path, nats_server) as whole:
        await whole.start_all()
        began = now_s()
        status, view = await whole.api("POST", "/v1/sensors", machine("press-1"))
        assert (status, view["status"]) == (201, "pending"), view
        view = await whole.reaches("press-1", "live")
        took = now_s() - began
        print("live after", took)
        assert view["node"] == "envoy-1"
        status, view = await whole.api("DELETE", "/v1/sensors/press-1")
        assert (status, view["status"]) == (202, "removing")
        await whole.gone("press-1")
