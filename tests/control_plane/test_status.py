"""What the API says of nodes and of a sensor's path, with everything real."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil

from tests.control_plane.rig import Plant, machine, plant
from tests.support.nats import NatsServer
from tests.xds.support import eventually


def kill_agent(sensor_id: str) -> None:
    """Kill the guest agent of a sensor: its connections are reset."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "hyperv.guest" in command and any(f"/{sensor_id}/" in part for part in command):
            os.kill(process.pid, signal.SIGKILL)


async def failed(whole: Plant, sensor_id: str) -> dict[str, Any]:
    """Wait until a failure of a sensor is shown; return it."""

    async def probe() -> dict[str, Any] | None:
        view = await whole.sensor(sensor_id)
        assert view is not None
        found: dict[str, Any] | None = view["last_failure"]
        return found

    return await eventually(f"a failure of {sensor_id}", probe)


async def test_a_sensor_says_who_carries_it_and_what_went_wrong(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    """Versions that Envoy and worker acknowledged; then its agent dies, and Envoy's reason is shown."""
    async with plant(tmp_path, nats_server) as whole:
        await whole.start_all()
        await whole.api("POST", "/v1/sensors", machine("press-1"))
        view = await whole.reaches("press-1", "live")
        envoy, worker = view["carried_by"]
        assert (envoy["role"], envoy["id"], envoy["state"]) == ("envoy", "envoy-1", "live")
        assert envoy["endpoint"] == f"{view['endpoint']['address']}:{view['endpoint']['port']}"
        assert (worker["role"], worker["state"], worker["stream"]["state"]) == ("worker", "live", "live")
        for resource in envoy["resources"] + worker["resources"]:
            assert resource["state"] == "live", resource
            assert resource["wanted"] == resource["sent"] == resource["acked"]
            assert resource["since"] is not None

        kill_agent("press-1")
        failure = await failed(whole, "press-1")
        assert failure["node"] == "envoy-1"
        assert failure["flags"]
        assert failure["cluster"] in {"host.lab", None}
        after = await whole.reaches("press-1", "live")
        assert after["last_failure"] is not None


async def test_nodes_say_what_they_run(tmp_path: Path, nats_server: NatsServer) -> None:
    """Per type in the list, per resource in one node; the versions are those of the sensor's own view."""
    async with plant(tmp_path, nats_server) as whole:
        await whole.start_all()
        await whole.api("POST", "/v1/sensors", machine("press-1"))
        view = await whole.reaches("press-1", "live")
        _, listed = await whole.api("GET", "/v1/nodes")
        assert [(node["role"], node["status"]) for node in listed["nodes"]] == [
            ("envoy", "up"),
            ("worker", "up"),
        ]
        for node in listed["nodes"]:
            assert node["problems"] == []
            for kind, of_type in node["types"].items():
                assert (of_type["state"], of_type["variant"]) == ("live", "delta"), (kind, of_type)
                assert of_type["sent_version"] == of_type["acked_version"]
        _, detail = await whole.api("GET", "/v1/nodes/envoy/envoy-1")
        told = {(each["type"], each["name"]): each for each in detail["resources"]}
        for resource in view["carried_by"][0]["resources"]:
            assert told[resource["type"], resource["name"]] == resource
        _, worker = await whole.api("GET", "/v1/nodes/worker/envoy-1?type=SensorAssignment")
        assert [each["name"] for each in worker["resources"]] == ["press-1"]
        status, _ = await whole.api("GET", "/v1/nodes/worker/envoy-2")
        assert status == 404
