"""The control plane with a real NATS, Envoy, worker and lab host."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest

from control_plane.app import serve
from tests.control_plane.rig import Plant, machine, plant
from tests.journal.support import connected
from tests.support.live import first_live_windows
from tests.support.nats import NatsServer
from tests.xds.support import eventually


async def add(whole: Plant, sensor_id: str) -> dict[str, Any]:
    """Add a sensor and wait until it is live."""
    status, view = await whole.api("POST", "/v1/sensors", machine(sensor_id))
    assert (status, view["status"]) == (201, "pending"), view
    return await whole.reaches(sensor_id, "live")


async def test_a_sensor_is_live_by_itself(tmp_path: Path, nats_server: NatsServer) -> None:
    """From the API to the first live 1 s window, and nothing is restarted; bench.first_row times it."""
    async with plant(tmp_path, nats_server) as whole, connected(nats_server) as client:
        await whole.start_all()
        await add(whole, "warm-up")
        windows = asyncio.create_task(first_live_windows(client, "press-1"))
        view = await add(whole, "press-1")
        assert (await windows).windows
        assert view["node"] == "envoy-1"
        assert view["endpoint"]["address"].startswith("127.")
        assert (
            view["stream"]["endpoint_version"] == f"{view['endpoint']['address']}:{view['endpoint']['port']}"
        )


async def test_a_removed_sensor_goes_with_its_vm(tmp_path: Path, nats_server: NatsServer) -> None:
    """Once it is gone its agent is too, its id is free, and other sensors did not notice."""
    async with plant(tmp_path, nats_server) as whole:
        await whole.start_all()
        await add(whole, "press-1")
        other = await add(whole, "press-2")
        status, view = await whole.api("DELETE", "/v1/sensors/press-1")
        assert (status, view["status"]) == (202, "removing")
        await whole.gone("press-1")
        assert not (tmp_path / "lab" / "vms" / "press-1").exists()
        after = await whole.reaches("press-2", "live")
        assert after["stream"]["since_unix_ns"] == other["stream"]["since_unix_ns"]
        await add(whole, "press-1")


async def test_a_sensor_that_moves_is_followed(tmp_path: Path, nats_server: NatsServer) -> None:
    """Its VM serves at another address: Envoy learns it first, then the stream is opened there."""
    async with plant(tmp_path, nats_server) as whole:
        await whole.start_all()
        before = await add(whole, "press-1")
        move = f"{whole.lab.info['url']}/vms/press-1/move"
        async with whole.session.post(move, json={}) as response:
            moved = await response.json()
        assert moved["endpoint"] != before["endpoint"]

        async def there() -> dict[str, Any] | None:
            view = await whole.reaches("press-1", "live")
            return view if view["endpoint"] == moved["endpoint"] else None

        after = await eventually("it streams from its new address", there)
        assert after["stream"]["accepted_seq"] >= before["stream"]["accepted_seq"]
        assert after["stream"]["epoch"] == before["stream"]["epoch"]


async def test_a_restarted_control_plane_cuts_no_stream(tmp_path: Path, nats_server: NatsServer) -> None:
    """Not even with its host away: what it had learnt of the VM is written down."""
    async with plant(tmp_path, nats_server) as whole:
        await whole.start_all()
        before = await add(whole, "press-1")
        await whole.control.stop()
        whole.host_url = "http://127.0.0.1:9"
        await whole.start_control()
        after = await whole.reaches("press-1", "live")
        assert after["stream"]["since_unix_ns"] == before["stream"]["since_unix_ns"]
        assert after["revision"] == before["revision"]


async def test_a_removal_waits_for_a_worker_that_is_away(tmp_path: Path, nats_server: NatsServer) -> None:
    """Its streams may live; it goes on when the worker is back, also after a restart of the control plane."""
    async with plant(tmp_path, nats_server) as whole:
        await whole.start_all()
        await add(whole, "press-1")
        await whole.worker.stop()

        async def away() -> bool:
            _, answer = await whole.api("GET", "/v1/nodes")
            return any(node["role"] == "worker" and not node["connected_since"] for node in answer["nodes"])

        await eventually("the worker is seen to be away", away)
        await whole.api("DELETE", "/v1/sensors/press-1")
        await whole.control.stop()
        await whole.start_control()
        view = await whole.sensor("press-1")
        assert view is not None
        assert view["status"] == "removing"
        assert "envoy-1, which is not connected" in view["message"]
        await whole.start_worker()
        await whole.gone("press-1")


async def test_reads_go_on_while_nats_is_away(tmp_path: Path, nats_server: NatsServer) -> None:
    """Writes are refused and say why; with NATS back everything goes on."""
    async with plant(tmp_path, nats_server) as whole:
        await whole.start_all()
        await add(whole, "press-1")
        nats_server.kill()
        assert await whole.sensor("press-1") is not None

        async def refused() -> bool:
            status, _ = await whole.api("POST", "/v1/sensors", machine("press-2"))
            return bool(status == 503)

        await eventually("writes are refused", refused)
        status, _ = await whole.api("DELETE", "/v1/sensors/press-1")
        assert status == 503
        nats_server.start()

        async def taken() -> bool:
            status, _ = await whole.api("POST", "/v1/sensors", machine("press-2"))
            return status in {201, 409}

        await eventually("writes are taken again", taken)
        await whole.reaches("press-2", "live")
        await whole.reaches("press-1", "live")


async def test_a_host_that_is_away_keeps_its_endpoints(tmp_path: Path, nats_server: NatsServer) -> None:
    """Its sensors go on as Envoy and worker see them; a new one waits and says for what."""
    async with plant(tmp_path, nats_server) as whole:
        await whole.start_all()
        await add(whole, "press-1")
        await whole.lab.stop()  # its agents end with it

        async def hosts() -> bool:
            _, answer = await whole.api("GET", "/v1/hosts")
            return bool(answer["hosts"][0]["status"] == "unreachable")

        await eventually("the host is seen to be away", hosts)
        view = await whole.reaches("press-1", "unreachable")
        assert view["endpoint"] is not None
        assert "does not answer" in view["message"]
        await whole.api("POST", "/v1/sensors", machine("press-2"))
        await whole.reaches("press-2", "unreachable")
        await whole.start_lab()
        await whole.reaches("press-1", "live")
        await whole.reaches("press-2", "live")


async def test_what_cannot_start_says_why(tmp_path: Path, nats_server: NatsServer) -> None:
    """A port that is taken, and another number of shards than the installation has."""
    async with plant(tmp_path, nats_server) as whole:
        await whole.start_control()
        await whole.control.stop()
        changed = whole.config().model_copy(update={"shards": 3, "xds_port": 0})
        with pytest.raises(RuntimeError, match="shards must be 2"):
            await serve(changed, lambda _: None)
        with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
            port = taken.getsockname()[1]
            for field, what in (("api_port", "the API"), ("xds_port", "the ADS server")):
                update = {"xds_port": 0, field: port}
                with pytest.raises(OSError, match=f"{what} cannot listen on 127.0.0.1:{port}"):
                    await serve(whole.config().model_copy(update=update), lambda _: None)


async def test_shards_of_a_worker_that_is_gone_move(tmp_path: Path, nats_server: NatsServer) -> None:
    """After the grace another node's worker owns them, and its stream goes on from the journal's cursor."""
    async with plant(tmp_path, nats_server) as whole:
        whole.grace_s = 0.5
        await whole.start_all()
        before = await add(whole, "press-1")
        await whole.worker.stop()
        assert whole.envoy is not None
        await whole.envoy.stop()
        await whole.start_envoy("envoy-2")
        await whole.start_worker()

        async def moved() -> bool:
            view = await whole.sensor("press-1")
            return view is not None and view["node"] == "envoy-2" and view["status"] == "live"

        await eventually("press-1 is live on envoy-2", moved)
        after = await whole.reaches("press-1", "live")
        assert after["stream"]["epoch"] == before["stream"]["epoch"]
        assert after["stream"]["accepted_seq"] >= before["stream"]["committed_seq"]
