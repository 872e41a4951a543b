"""A replica of the control plane that waits for its turn: what it needs is loaded, and it says who leads."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Sequence

import structlog
from aiohttp import web

from control_plane.api.standby import Leader, make_standby_app
from control_plane.config import ControlPlaneConfig
from control_plane.store.connection import Connection
from control_plane.store.desired import DesiredState
from control_plane.store.leadership import Lead, Leadership, leading
from control_plane.store.leadership_state import LeadershipState
from control_plane.store.records import LeaderRecord

log = structlog.get_logger(__name__)

Ready = Callable[[dict[str, object]], None]


class Standby:
    """One replica, from its start to the moment when it leads.

    Args:
        replica: Its name.
        config: What it must know.
        api_port: Where it answers, and will answer when it leads.
        runner: Serves what a standby answers.
        ready: Called once, when everything is loaded.

    Attributes:
        lead: Whether it may act as the leader.
        api_port: See above.
    """

    def __init__(
        self, replica: str, config: ControlPlaneConfig, api_port: int, runner: web.AppRunner, ready: Ready
    ) -> None:
        self.api_port = api_port
        self._runner = runner
        self._on_ready = ready
        self._state = LeadershipState(secrets.token_hex(8))
        self.lead = Lead(self._state)
        self._desired: DesiredState | None = None
        self._me = LeaderRecord(
            replica=replica,
            instance=self._state.instance,
            api_url=config.advertise.get("api_url", f"http://{config.api_host}:{api_port}"),
            xds_address=config.advertise.get("xds_address", f"{config.xds_host}:{config.xds_port}"),
        )

    @contextlib.asynccontextmanager
    async def turn(
        self, connection: Connection, desired: DesiredState, watches: Sequence[asyncio.Task[None]]
    ) -> AsyncIterator[asyncio.Task[None]]:
        """Wait until this replica leads, which it then does within the context.

        Raises what one of the watches ends with. The task that is returned ends only
        with LeadershipLostError.
        """
        self._desired = desired
        leadership = Leadership(connection, desired, self._me, self._state)
        async with leading(leadership) as task:
            info = {"api_url": self._me.api_url, "xds_address": self._me.xds_address}
            self._on_ready({"replica": self._me.replica, **info})
            log.info("standing_by", replica=self._me.replica, leader=self.leader())
            await leadership.won((task, *watches))
            yield task

    def leader(self) -> Leader | None:
        """Return who leads, as far as is known."""
        if self._desired is None or self._desired.leader is None:
            return None
        _, record = self._desired.leader
        return Leader(record.replica, record.api_url)

    async def leave(self) -> None:
        """Free the API's port."""
        await self._runner.cleanup()


@contextlib.asynccontextmanager
async def standing_by(replica: str, config: ControlPlaneConfig, ready: Ready) -> AsyncIterator[Standby]:
    """Return a standby that answers at the API's address. Raises OSError."""
    known: list[Standby] = []
    app = make_standby_app(replica, lambda: known[0].leader() if known else None)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, config.api_host, config.api_port).start()
        known.append(Standby(replica, config, runner.addresses[0][1], runner, ready))
        yield known[0]
    finally:
        await runner.cleanup()
