"""A real Envoy with a bootstrap of the test's own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from envoy_bootstrap.binary import envoy_command

WAIT_S = 30.0


async def wait_for(what: str, probe: Callable[[], Awaitable[bool]]) -> None:
    """Wait until `probe` says so; fail with `what` after WAIT_S."""
    deadline = time.monotonic() + WAIT_S
    while not await probe():
        assert time.monotonic() < deadline, f"not within {WAIT_S} s: {what}"
        await asyncio.sleep(0.02)


def gateway() -> dict[str, Any]:
    """Return a listener on a port of the system's choosing that answers everything with 204."""
    manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 204}}
    return {
        "name": "gateway",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "http",
                        "typed_config": {
                            "@type": f"type.googleapis.com/{manager}",
                            "stat_prefix": "gateway",
                            "route_config": {
                                "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]
                            },
                            "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
                        },
                    }
                ]
            }
        ],
    }


@asynccontextmanager
async def envoy(folder: Path, bootstrap: dict[str, Any]) -> AsyncIterator[str]:
    """Run an Envoy; return the URL of its admin interface."""
    config, address = folder / "envoy.json", folder / "admin-address"
    config.write_text(json.dumps(bootstrap))
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *envoy_command(config, admin_address_path=address), stderr=log
        )
    try:

        async def told() -> bool:
            assert process.returncode is None, (folder / "envoy.log").read_text()
            return address.exists() and ":" in address.read_text()

        await wait_for("Envoy says where its admin interface is", told)
        yield f"http://{address.read_text().strip()}"
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), WAIT_S)
