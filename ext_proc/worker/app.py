"""The worker process: everything built and wired, started and ended in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Final

from nats.aio.client import Client

from ext_proc.ending import end
from ext_proc.follower.follower import Follower
from ext_proc.follower.gateway import HttpGateway
from ext_proc.journal.append import PUBLISH_TIMEOUT_S
from ext_proc.journal.connection import nats_client
from ext_proc.journal.streams import Retention
from ext_proc.worker.ads_client import AdsClient
from ext_proc.worker.ads_state import AdsState
from ext_proc.worker.applier import WorkerApplier
from ext_proc.worker.config import WorkerConfig
from ext_proc.worker.ext_proc_server import ExtProcServer
from ext_proc.worker.policy import PolicyInForce
from ext_proc.worker.resources import WORKER_TYPES
from ext_proc.worker.rules import RulesInForce
from ext_proc.worker.shards import HARD_CLOSE_S, ShardKeeper, ShardTools
from ext_proc.worker.status import LivePublisher, publish_status, worker_status
from wire.gen.gaugeway.envoy.v1 import discovery_pb2
from wire.names import WORKER_ROLE

# A stream leaves no cycles while it flows, but each frame leaves objects for a moment: with the defaults
# the collector passes over a fleet's streams, hundreds of MB, several times a minute and finds nothing.
_GC_THRESHOLDS: Final = (50_000, 20, 100)


async def serve(config: WorkerConfig, ready: Callable[[dict[str, object]], None]) -> None:
    """Run a worker until cancelled.

    Ends in order: the control plane is left, streams are reset, what they
    delivered is appended, each shard writes a checkpoint, and whatever Envoy
    still holds is aborted, never ended with OK.

    Args:
        config: What it must know.
        ready: Called once, when Envoy can reach the worker and NATS answers.
    """
    gc.set_threshold(*_GC_THRESHOLDS)
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(nats_client(config.nats_url, config.node_id))
        worker = Worker(config, client, await stack.enter_async_context(HttpGateway(config.gateway_url)))
        await worker.run(ready)


class Worker:
    """The parts of a worker and how they know each other."""

    def __init__(self, config: WorkerConfig, client: Client, gateway: HttpGateway) -> None:
        self._config = config
        self._client = client
        self._policy = PolicyInForce()
        self._rules = RulesInForce()
        self._crash: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stopping = False
        self._follower = Follower(gateway, config.opens_per_s, self._policy.bounds)
        self._server = ExtProcServer(self._follower)
        self._applier = WorkerApplier(self._follower, self._policy, self._rules, self._new_keeper)
        self._live = LivePublisher(client)
        self._tools = ShardTools(
            nats=client,
            js=client.jetstream(timeout=PUBLISH_TIMEOUT_S),
            node_id=config.node_id,
            settings=config.shard_settings(),
            retention=Retention(),
            publish_live=self._live,
            following=self._follower,
        )
        node = discovery_pb2.Node(id=config.node_id, cluster=WORKER_ROLE, user_agent_name="gaugeway-worker")
        self._ads = AdsClient(config.xds_addresses, AdsState(node, WORKER_TYPES), self._applier)

    async def run(self, ready: Callable[[dict[str, object]], None]) -> None:
        """Serve until cancelled, or until a shard ends by an error that nothing foresaw."""
        ads = status = None
        try:
            await self._live.start()
            await self._server.start(Path(self._config.ext_proc_socket))
            ads = asyncio.create_task(self._ads.run(), name="ads")
            ads.add_done_callback(self._on_done)
            status = asyncio.create_task(
                publish_status(self._client, self._config.node_id, self._status), name="status"
            )
            status.add_done_callback(self._on_done)
            ready({"ext_proc_socket": self._config.ext_proc_socket})
            await self._crash
        finally:
            self._stopping = True
            await _cancel(ads)
            await asyncio.gather(*(keeper.stop() for keeper in self._applier.keepers.values()))
            await self._server.stop()
            await _cancel(status)

    def _new_keeper(self, shard: int) -> ShardKeeper:
        keeper = ShardKeeper(shard, self._tools, self._policy.policy, self._crashed)
        keeper.want_rules(self._rules.rules(), self._rules.version)
        return keeper

    async def _status(self) -> bytes:
        return await worker_status(
            self._config.node_id,
            self._follower,
            list(self._applier.keepers.values()),
            stopping=self._stopping,
        )

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._crashed(error)

    def _crashed(self, error: BaseException) -> None:
        if not self._crash.done():
            self._crash.set_exception(error)


async def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        await end(task, again_s=HARD_CLOSE_S)
