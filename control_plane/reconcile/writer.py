"""Writes down what plans find out: leases, endpoints, and that a sensor is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import structlog

from control_plane.ending import end
from control_plane.model import StoreUnavailableError
from control_plane.reconcile.metrics import ReconcileMetrics
from control_plane.reconcile.plan import Plan
from control_plane.store.bucket import ConflictError
from control_plane.store.desired import DesiredState

log = structlog.get_logger(__name__)

AT_ONCE: Final = 16
RETRY_S: Final = 0.5


class PlanWriter:
    """Writes each thing once at a time. What it writes comes back as a change of the desired state.

    Args:
        desired: Where to.
        again: Called when a write failed and the plan should be made again.
        metrics: Counts what is not taken.
    """

    def __init__(self, desired: DesiredState, again: Callable[[], None], metrics: ReconcileMetrics) -> None:
        self._desired = desired
        self._again = again
        self._metrics = metrics
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def write(self, plan: Plan) -> None:
        """Begin what is not under way already."""
        for claim in plan.claims:
            self._begin(
                f"lease {claim.shard}",
                partial(self._desired.claim_lease, claim.shard, claim.owner, claim.generation, claim.last),
            )
        for sensor_id, endpoint in plan.learnt.items():
            self._begin(f"sensor {sensor_id}", partial(self._desired.put_endpoint, sensor_id, endpoint))
        for sensor_id in plan.forget:
            self._begin(f"sensor {sensor_id}", partial(self._desired.forget_sensor, sensor_id))

    async def stop(self) -> None:
        """Cancel what is under way."""
        await end(list(self._under_way.values()))

    def _begin(self, what: str, write: Callable[[], Awaitable[None]]) -> None:
        if what not in self._under_way:
            self._under_way[what] = asyncio.create_task(self._write(what, write), name=f"write {what}")

    async def _write(self, what: str, write: Callable[[], Awaitable[None]]) -> None:
        try:
            async with self._slots:
                await write()
        except (ConflictError, StoreUnavailableError) as error:
            self._metrics.write_errors.inc()
            log.info("not_written", what=what, reason=str(error))
            await asyncio.sleep(RETRY_S)
        except Exception:
            log.exception("write_failed", what=what)
            await asyncio.sleep(RETRY_S)
        finally:
            del self._under_way[what]
            self._again()
