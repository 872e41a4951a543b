"""The admin client against a real Envoy, and against what is none."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from envoy_bootstrap.admin import AdminClient, AdminError
from envoy_bootstrap.bootstrap import BootstrapConfig, build_bootstrap
from tests.envoy_bootstrap.support import envoy, gateway, wait_for
from wire.names import EXT_PROC_CLUSTER, XDS_CLUSTER

Question = Callable[[AdminClient], Coroutine[Any, Any, object]]
QUESTIONS: tuple[Question, ...] = (
    AdminClient.ready,
    AdminClient.listeners,
    AdminClient.clusters,
    AdminClient.stats,
    AdminClient.config_dump,
)


def bootstrap(folder: Path) -> dict[str, Any]:
    """Return a bootstrap whose control plane is away."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = BootstrapConfig(
        node_id="node-1", xds_host="127.0.0.1", xds_port=port, ext_proc_socket=str(folder / "worker.sock")
    )
    parsed: dict[str, Any] = json.loads(build_bootstrap(config))
    return parsed


async def test_an_envoy_without_its_control_plane_waits(tmp_path: Path) -> None:
    """It is not ready, has no listener, and knows its two static clusters."""
    async with envoy(tmp_path, bootstrap(tmp_path)) as url, AdminClient(url + "/") as admin:
        assert await admin.ready() is False
        assert await admin.listeners() == {}
        assert {each["name"] for each in await admin.clusters()} == {XDS_CLUSTER, EXT_PROC_CLUSTER}
        assert await admin.stats(r"^cluster\.worker\.membership_total$") == {
            "cluster.worker.membership_total": 1
        }
        for endpoints in (False, True):
            dump = await admin.config_dump(endpoints=endpoints)
            kinds = {each["@type"].rpartition(".")[2] for each in dump}
            assert {"BootstrapConfigDump", "ClustersConfigDump"} <= kinds
            assert ("EndpointsConfigDump" in kinds) == endpoints


async def test_an_envoy_that_serves_says_where(tmp_path: Path) -> None:
    """The port that the system chose, and counters that move."""
    config = bootstrap(tmp_path)
    del config["dynamic_resources"]
    config["static_resources"]["listeners"] = [gateway()]
    async with envoy(tmp_path, config) as url, AdminClient(url) as admin, aiohttp.ClientSession() as session:
        await wait_for("Envoy is ready", admin.ready)
        address = (await admin.listeners())["gateway"]
        for _ in range(3):
            async with session.get(f"http://{address}/") as response:
                assert response.status == 204
        stats = await admin.stats()
        assert stats["http.gateway.downstream_rq_total"] == 3
        assert all(isinstance(value, int) for value in stats.values())


async def test_an_envoy_that_is_away_is_said_so() -> None:
    """Every question raises AdminError with the URL and why."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    async with AdminClient(url) as admin:
        for ask in QUESTIONS:
            with pytest.raises(AdminError, match=f"{url}/.* does not answer: "):
                await ask(admin)


async def test_a_client_that_was_not_entered_says_so() -> None:
    """Rather than leak a session."""
    with pytest.raises(AdminError, match="async with"):
        await AdminClient("http://127.0.0.1:1").ready()


@asynccontextmanager
async def something(answer: bytes | None) -> AsyncIterator[str]:
    """Serve the same answer to every request; none: say nothing."""
    served: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
        writer.close()
        await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.wait_for(asyncio.gather(*served), 10)


@pytest.mark.parametrize(
    ("body", "questions"),
    [
        ("nonsense", QUESTIONS[1:]),
        ("[]", QUESTIONS[1:]),
        ("null", QUESTIONS[1:]),
        ('{"stats": {}}', (AdminClient.stats,)),
        ('{"cluster_statuses": [1]}', (AdminClient.clusters,)),
    ],
)
async def test_what_is_no_envoy_is_an_admin_error(body: str, questions: tuple[Question, ...]) -> None:
    """Whatever it answers."""
    said = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
    async with something(said) as url, AdminClient(url) as admin:
        for ask in questions:
            with pytest.raises(AdminError, match=f"{url}/.* answered (no )?JSON"):
                await ask(admin)


async def test_a_refusal_is_an_admin_error() -> None:
    """With the status and what was said."""
    said = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\nhuh?"
    async with something(said) as url, AdminClient(url) as admin:
        for ask in QUESTIONS:
            with pytest.raises(AdminError, match=r"answered 404: huh\?"):
                await ask(admin)


async def test_an_envoy_that_hangs_is_not_waited_for() -> None:
    """Each question has its deadline."""
    async with something(None) as url, AdminClient(url, timeout_s=0.1) as admin:
        with pytest.raises(AdminError, match="does not answer"):
            await admin.ready()
