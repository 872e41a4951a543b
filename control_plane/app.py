"""The control plane's process: everything built and wired, started and ended in order."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.metadata
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, cast

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from control_plane.api.app import make_app
from control_plane.api.ports import Accounts, History, Info
from control_plane.changes import Changes
from control_plane.config import ControlPlaneConfig
from control_plane.ending import end
from control_plane.fleet import Fleet
from control_plane.memory import settle
from control_plane.observe.access_log_service import AccessLogService
from control_plane.observe.board import StatusBoard
from control_plane.observe.client_status_service import ClientStatusService
from control_plane.observe.failures import LastFailures
from control_plane.observe.listener import listening
from control_plane.observe.live_windows import LiveWindowsFeed
from control_plane.reconcile.engine import Engine
from control_plane.reconcile.host_keeper import HostDriver
from control_plane.reconcile.metrics import ReconcileMetrics
from control_plane.reconcile.preflight import Preflight, PreflightMetrics, running_preflight
from control_plane.reconcile.reconciler import Reconciler
from control_plane.resources.gateway import EnvoyParts
from control_plane.store.accounts import sqlite_accounts
from control_plane.store.connection import Connection, nats_connection
from control_plane.store.desired import DesiredState
from control_plane.store.records import HostRecord
from control_plane.xds.cache import SnapshotCache
from control_plane.xds.server import AdsServer
from envoy_bootstrap.validate import EnvoyValidator
from hyperv.lab.client import LabClient

log = structlog.get_logger(__name__)

DATABASE: Final = "control.db"
PASSES: Final = "preflight.json"
SHUTDOWN_S: Final = 1.0
END_S: Final = 4.0  # what the reconciler has for the end of its own parts
_MISSING_NATS: Final = "NATS is away: what is wanted can be read, not changed"

Ready = Callable[[dict[str, object]], None]


async def serve(config: ControlPlaneConfig, ready: Ready, history: History | None = None) -> None:
    """Run a control plane until cancelled.

    The desired state is loaded, and a first plan made from it, before any node
    is answered: a control plane that was restarted knows the fleet or is silent.

    Args:
        config: What it must know.
        ready: Called once, with `api_url` and `xds_address`, when both are served.
        history: Windows of the past for the API; None: this installation keeps none.

    Raises:
        OSError: A port is taken; the text says which.
        ShardsChangedError: The installation has another number of shards.
    """
    loading = asyncio.create_task(asyncio.to_thread(_load_envoy_parts))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(_settled, loading)
        accounts = await stack.enter_async_context(sqlite_accounts(config.state_dir / DATABASE))
        await accounts.ensure_operator(config.token_file)
        connection = await stack.enter_async_context(nats_connection(config.nats_url, "control-plane"))
        core = await stack.enter_async_context(running_core(config, connection, loading))
        xds_port = await core.serve_nodes(config.xds_host, config.xds_port)
        api_url = await stack.enter_async_context(_api(config, core, accounts, history))
        ready({"api_url": api_url, "xds_address": f"{config.xds_host}:{xds_port}"})
        log.info("control_plane_ready", api_url=api_url, xds_port=xds_port, sensors=len(core.desired.sensors))
        await core.failed()


@dataclass(frozen=True, slots=True)
class Core:
    """Everything but the API."""

    desired: DesiredState
    fleet: Fleet
    ads: AdsServer
    registry: CollectorRegistry
    connection: Connection
    tasks: tuple[asyncio.Task[None], ...]

    async def serve_nodes(self, host: str, port: int) -> int:
        """Answer Envoys and workers; return the port. Raises OSError."""
        try:
            return await self.ads.start(host, port)
        except OSError as error:
            raise OSError(_taken("ADS server", "xds_port", host, port, str(error))) from error

    async def failed(self) -> None:
        """Wait until a part ends, and raise why: none ends by itself."""
        done, _ = await asyncio.wait(self.tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()


@contextlib.asynccontextmanager
async def running_core(
    config: ControlPlaneConfig, connection: Connection, loading: Awaitable[EnvoyParts]
) -> AsyncIterator[Core]:
    """Return the control plane without its API, its first plan made. Raises ShardsChangedError."""
    changes, board, cache, registry = Changes(), StatusBoard(), SnapshotCache(), CollectorRegistry()
    metrics = ReconcileMetrics(registry)
    on_change: list[Callable[[], None]] = [changes.note]
    desired = DesiredState(connection, lambda: _call(on_change))
    async with contextlib.AsyncExitStack() as stack:
        watches = await stack.enter_async_context(desired.watched())
        await desired.install(config.shards, config.hosts)
        await stack.enter_async_context(listening(connection.client, board, changes.note))
        checks, checking = await stack.enter_async_context(
            _checks(config, registry, lambda: _call(on_change))
        )
        engine = Engine(desired, cache, await loading, metrics, shards=config.shards, checks=checks)
        reconciler = Reconciler(
            desired,
            cache,
            engine,
            metrics,
            new_driver=_new_driver,
            stepped=changes.note,
            grace_s=config.worker_grace_s,
            rebalance_after_s=config.rebalance_after_s,
        )
        on_change.append(reconciler.wake)
        reconciler.step()
        settle()
        reconciling = asyncio.create_task(reconciler.run(), name="reconcile")
        stack.push_async_callback(_ended, reconciling)
        failures = LastFailures(lambda sensor_id: sensor_id in desired.sensors)
        services = AccessLogService(failures, registry), ClientStatusService(cache, registry)
        ads = AdsServer(cache, registry, services=[service.handler() for service in services])
        stack.push_async_callback(ads.stop)
        for service in services:
            stack.callback(service.close)
        fleet = Fleet(
            desired=desired,
            engine=engine,
            cache=cache,
            board=board,
            failures=failures,
            feed=LiveWindowsFeed(connection.client, registry),
            client=connection.client,
            changes=changes,
            shards=config.shards,
        )
        yield Core(desired, fleet, ads, registry, connection, (reconciling, *checking, *watches))


@contextlib.asynccontextmanager
async def _checks(
    config: ControlPlaneConfig, registry: CollectorRegistry, changed: Callable[[], None]
) -> AsyncIterator[tuple[Preflight | None, list[asyncio.Task[None]]]]:
    """Run the pre-flight check; nothing if it is switched off."""
    if not config.preflight:
        yield None, []
        return
    file = config.state_dir / PASSES
    checks = Preflight(EnvoyValidator(), changed, PreflightMetrics(registry), file=file)
    async with running_preflight(checks) as task:
        yield checks, [task]


@contextlib.asynccontextmanager
async def _api(
    config: ControlPlaneConfig, core: Core, accounts: Accounts, history: History | None
) -> AsyncIterator[str]:
    """Serve the API; returns its URL. Raises OSError."""
    info = Info(
        version=importlib.metadata.version("gaugeway"),
        shards=config.shards,
        urls=config.advertise,
        token_file=str(config.token_file),
        missing=lambda: [] if core.connection.up else [_MISSING_NATS],
    )
    app = make_app(core.fleet, accounts, history, core.registry, info)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, config.api_host, config.api_port)
        try:
            await site.start()
        except OSError as error:
            reason = error.strerror or str(error)
            raise OSError(_taken("API", "api_port", config.api_host, config.api_port, reason)) from error
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def _taken(what: str, field: str, host: str, port: int, reason: str) -> str:
    return (
        f"the {what} cannot listen on {host}:{port}: {reason}. End what listens there, or set {field} to "
        "another port (0: chosen by the system)"
    )


def _call(listeners: list[Callable[[], None]]) -> None:
    for listener in listeners:
        listener()


def _new_driver(host_id: str, record: HostRecord) -> HostDriver:
    return LabClient(host_id, record.url)


def _load_envoy_parts() -> EnvoyParts:
    """Import what builds Envoy's resources: it takes a second, and NATS and SQL can begin meanwhile."""
    module = importlib.import_module("control_plane.resources.envoy")
    return cast("EnvoyParts", module.PARTS)


async def _ended(task: asyncio.Task[None]) -> None:
    await end([task], again_s=END_S)


async def _settled(task: asyncio.Task[EnvoyParts]) -> None:
    """Have a task end that nobody may have waited for."""
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()
