"""What only the leader may do to others, asked for right before it is done.

A process that was stopped, and goes on when another one leads, does nothing
then, whatever it was about to do. Writes to the store have the same check and,
as their fence, compare-and-set (control_plane.store.bucket).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from control_plane.reconcile.host_keeper import HostDriver
from control_plane.xds.cache import Connection, SnapshotCache
from control_plane.xds.messages import Response
from hyperv.errors import RetryableHostError
from hyperv.model import VmSpec, VmState

_REASON: Final = "this control plane does not lead any more"


class FencedCache(SnapshotCache):
    """Ends a stream instead of sending on it once `leads` says no."""

    def __init__(self, leads: Callable[[], bool]) -> None:
        super().__init__()
        self._leads = leads

    def take(self, connection: Connection) -> list[Response]:
        """See SnapshotCache."""
        if self._leads():
            return super().take(connection)
        connection.end(_REASON)
        return []


class FencedDriver:
    """A host that is read whoever leads, and changed only by the leader."""

    def __init__(self, host_id: str, driver: HostDriver, leads: Callable[[], bool]) -> None:
        self._host_id = host_id
        self._driver = driver
        self._leads = leads

    async def inventory(self) -> list[VmState]:
        """See HostDriver."""
        return await self._driver.inventory()

    async def ensure(self, spec: VmSpec) -> VmState:
        """See HostDriver."""
        self._check()
        return await self._driver.ensure(spec)

    async def remove(self, sensor_id: str) -> None:
        """See HostDriver."""
        self._check()
        await self._driver.remove(sensor_id)

    async def wait_change(self, after: int, timeout_s: float) -> int:
        """See HostDriver."""
        return await self._driver.wait_change(after, timeout_s)

    async def close(self) -> None:
        """See HostDriver."""
        await self._driver.close()

    def _check(self) -> None:
        if not self._leads():
            raise RetryableHostError(self._host_id, _REASON)
