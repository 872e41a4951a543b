"""The control plane's process: everything built and wired, started and ended in order."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.metadata
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final, cast

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from control_plane.api.app import make_app
from control_plane.api.ports import Accounts, History, Info
from control_plane.api.standby import while_leading
from control_plane.changes import Changes
from control_plane.config import ControlPlaneConfig
from control_plane.ending import end
from control_plane.fenced import FencedCache, FencedDriver
from control_plane.fleet import Fleet
from control_plane.memory import settle
from control_plane.observe.access_log_service import AccessLogService
from control_plane.observe.board import StatusBoard
from control_plane.observe.client_status_service import ClientStatusService
from control_plane.observe.failures import LastFailures
from control_plane.observe.listener import listening
from control_plane.observe.live_windows import LiveWindowsFeed
from control_plane.observe.rejected_input import RejectedInput
from control_plane.reconcile.engine import Engine
from control_plane.reconcile.metrics import ReconcileMetrics
from control_plane.reconcile.preflight import Preflight, PreflightMetrics, running_preflight
from control_plane.reconcile.reconciler import Reconciler
from control_plane.resources.gateway import EnvoyParts
from control_plane.standby import Ready, Standby, standing_by
from control_plane.store.accounts import sqlite_accounts
from control_plane.store.connection import Connection, nats_connection
from control_plane.store.desired import DesiredState
from control_plane.store.leadership import Lead
from control_plane.xds.server import AdsServer
from envoy_bootstrap.validate import EnvoyValidator
from hyperv.lab.client import LabClient

log = structlog.get_logger(__name__)

DATABASE: Final = "control.db"
PASSES: Final = "preflight.json"
SHUTDOWN_S: Final = 1.0
END_S: Final = 4.0  # what the reconciler has for the end of its own parts
_MISSING_NATS: Final = "NATS is away: what is wanted can be read, not changed"


async def serve(config: ControlPlaneConfig, ready: Ready, history: History | None = None) -> None:
    """Run a control plane until cancelled.

    The desired state is loaded, and a first plan made from it, before any node
    is answered: a control plane that was restarted knows the fleet or is silent.
    One of several replicas stands by until it leads.

    Args:
        config: What it must know.
        ready: Called once, with `api_url` and `xds_address`, when both are served; of
            a replica when it stands by, though the ADS server is served by the leader only.
        history: Windows of the past for the API; None: this installation keeps none.

    Raises:
        OSError: A port is taken; the text says which.
        LeadershipLostError: This replica led, and another one may now.
        ShardsChangedError: The installation has another number of shards.
    """
    loading = asyncio.create_task(asyncio.to_thread(_load_envoy_parts))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(_settled, loading)
        accounts = await stack.enter_async_context(sqlite_accounts(config.state_dir / DATABASE))
        standby = None
        if config.replica is not None:
            standby = await stack.enter_async_context(_standing_by(config.replica, config, ready))
        connection = await stack.enter_async_context(nats_connection(config.nats_url, "control-plane"))
        core = await stack.enter_async_context(running_core(config, connection, loading, standby))
        await accounts.ensure_operator(config.token_file, shared=standby is not None)
        xds_port = await core.serve_nodes(config.xds_host, config.xds_port)
        if standby is not None:
            await standby.leave()
        api_url = await stack.enter_async_context(_api(config, core, accounts, history, standby))
        if standby is None:
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
    config: ControlPlaneConfig,
    connection: Connection,
    loading: Awaitable[EnvoyParts],
    standby: Standby | None = None,
) -> AsyncIterator[Core]:
    """Return the control plane without its API, its first plan made; a `standby` waits until it leads.

    Raises ShardsChangedError.
    """
    lead = Lead() if standby is None else standby.lead
    changes, board, cache, registry = Changes(), StatusBoard(), FencedCache(lead), CollectorRegistry()
    metrics = ReconcileMetrics(registry)
    registry.register(RejectedInput(board))
    on_change: list[Callable[[], None]] = [changes.note]
    desired = DesiredState(connection, lambda: _call(on_change), lead)
    async with contextlib.AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(desired.watched())
        desired.check_shards(config.shards)
        await stack.enter_async_context(listening(connection.client, board, changes.note))
        parts = await loading
        if standby is not None:
            tasks = [*tasks, await stack.enter_async_context(standby.turn(connection, desired, tasks))]
        await desired.install(config.shards, config.hosts)
        checks, checking = await stack.enter_async_context(
            _checks(config, registry, lambda: _call(on_change))
        )
        engine = Engine(desired, cache, parts, metrics, shards=config.shards, checks=checks)
        reconciler = Reconciler(
            desired,
            cache,
            engine,
            metrics,
            new_driver=lambda host_id, record: FencedDriver(host_id, LabClient(host_id, record.url), lead),
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
        services = AccessLogService(failures, registry), ClientStatusService(cache, registry, engine.held)
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
        yield Core(desired, fleet, ads, registry, connection, (reconciling, *checking, *tasks))


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
    config: ControlPlaneConfig,
    core: Core,
    accounts: Accounts,
    history: History | None,
    standby: Standby | None,
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
    port = config.api_port
    if config.replica is not None and standby is not None:
        app.middlewares.insert(0, while_leading(config.replica, standby.lead))
        port = standby.api_port
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S, handler_cancellation=True)
    await runner.setup()
    try:
        with _said(config.api_host, port):
            await web.TCPSite(runner, config.api_host, port).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _standing_by(replica: str, config: ControlPlaneConfig, ready: Ready) -> AsyncIterator[Standby]:
    async with contextlib.AsyncExitStack() as stack:
        with _said(config.api_host, config.api_port):
            standby = await stack.enter_async_context(standing_by(replica, config, ready))
        yield standby


@contextlib.contextmanager
def _said(host: str, port: int) -> Iterator[None]:
    """Say of an OSError that it is about the API's port."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(_taken("API", "api_port", host, port, reason)) from error


def _taken(what: str, field: str, host: str, port: int, reason: str) -> str:
    return (
        f"the {what} cannot listen on {host}:{port}: {reason}. End what listens there, or set {field} to "
        "another port (0: chosen by the system)"
    )


def _call(listeners: list[Callable[[], None]]) -> None:
    for listener in listeners:
        listener()


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
