"""A client that hangs, or whose machine is gone: nothing but pings can tell."""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest

from control_plane.xds.cache import SnapshotCache
from control_plane.xds.server import AdsServer
from tests.xds.support import NODE, eventually, wait_cache

CLIENT = """
import sys, threading, grpc
from wire.gen.gaugeway.envoy.v1 import discovery_pb2 as xds
method = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
stream = grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}").stream_stream(
    method, xds.DeltaDiscoveryRequest.SerializeToString, xds.DeltaDiscoveryResponse.FromString
)
def requests():
    yield xds.DeltaDiscoveryRequest(node=xds.Node(id=sys.argv[2], cluster=sys.argv[3]), type_url="x")
    threading.Event().wait()
list(stream(requests()))
"""


@pytest.mark.slow
async def test_a_client_that_hangs_is_noticed() -> None:
    """Within 20 s its stream is over, also if nothing was said on it for long."""
    cache = SnapshotCache()
    server = AdsServer(cache)
    port = await server.start("127.0.0.1", 0)
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, str(port), NODE.node_id, NODE.role, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await wait_cache(cache, "the client is there", lambda: cache.streams == 1)
        client.send_signal(signal.SIGSTOP)

        async def gone() -> bool:
            return cache.streams == 0

        await eventually("its stream is over", gone, timeout_s=22.0)
    finally:
        client.kill()
        await client.wait()
        await server.stop()
