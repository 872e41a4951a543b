"""One host, kept: its inventory followed by long poll, its VMs brought to what is wished."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

import structlog

from control_plane.reconcile.metrics import ReconcileMetrics
from control_plane.reconcile.operations import (
    FIRST_RETRY_S,
    LAST_RETRY_S,
    Attempt,
    Operation,
    due_operations,
    failed_again,
    next_due_s,
    wanted_operations,
)
from control_plane.reconcile.wishes import HostWish
from control_plane.reconcile.world import Failure, HostState
from hyperv.errors import HostError, RetryableHostError, TerminalHostError
from hyperv.model import VmSpec, VmState

log = structlog.get_logger(__name__)

LONG_POLL_S: Final = 10.0
AT_ONCE: Final = 4  # a VM that starts takes most of a core of the host's


class HostDriver(Protocol):
    """A hypervisor host (hyperv.lab.client.LabClient). Raises RetryableHostError and TerminalHostError."""

    async def inventory(self) -> list[VmState]:
        """Return every VM of the host."""
        ...

    async def ensure(self, spec: VmSpec) -> VmState:
        """Make the VM of a sensor be as `spec` says; returns its state."""
        ...

    async def remove(self, sensor_id: str) -> None:
        """Remove the VM of a sensor; nothing to do if there is none."""
        ...

    async def wait_change(self, after: int, timeout_s: float) -> int:
        """Wait until the inventory's version is past `after`, at most `timeout_s`; return the version."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class HostKeeper:
    """Keeps one host until cancelled.

    A host that does not answer keeps the VMs that it had: what they serve goes
    on without it.

    Attributes:
        state: What is known of the host; replaced, never changed.
    """

    def __init__(
        self, host_id: str, driver: HostDriver, changed: Callable[[], None], metrics: ReconcileMetrics
    ) -> None:
        self.host_id = host_id
        self.state = HostState()
        self._driver = driver
        self._on_change = changed
        self._metrics = metrics
        self._wish = HostWish()
        self._dispatch_now = asyncio.Event()
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, Attempt] = {}
        self._ended: dict[str, int] = {}  # sensor: how many operations had ended when its last one did
        self._operations = 0

    def wish(self, wish: HostWish) -> None:
        """Have the host become as `wish` says."""
        if wish == self._wish:
            return
        self._wish = wish
        removed = self.state.removed & wish.remove
        if removed != self.state.removed:
            self.state = replace(self.state, removed=removed)
        self._dispatch_now.set()

    async def run(self) -> None:
        """Keep the host until cancelled."""
        tasks = [
            asyncio.create_task(self._poll(), name=f"poll {self.host_id}"),
            asyncio.create_task(self._dispatch(), name=f"dispatch {self.host_id}"),
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            tasks += self._under_way.values()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._driver.close()

    # --- the inventory ----------------------------------------------------------------------
    async def _poll(self) -> None:
        version, failures = -1, 0
        while True:
            try:
                version = await self._driver.wait_change(version, LONG_POLL_S)
                await self._read_inventory()
            # Also what no driver should raise: one host's nonsense must not end the control plane.
            except Exception as error:  # noqa: BLE001
                self._unreachable(error)
                version = -1  # the host may have begun to count anew
                wait_s = min(FIRST_RETRY_S * 2**failures, LAST_RETRY_S)
                failures = min(failures + 1, 16)
                await asyncio.sleep(wait_s * (0.5 + random.random() / 2))
            else:
                failures = 0

    async def _read_inventory(self) -> None:
        """Take the inventory; of VMs whose operation ended meanwhile we know better."""
        began = self._operations
        vms = {vm.sensor_id: vm for vm in await self._driver.inventory()}
        self._ended = {sensor_id: at for sensor_id, at in self._ended.items() if at > began}
        for sensor_id in self._ended:
            vms.pop(sensor_id, None)
            if sensor_id in self.state.vms:
                vms[sensor_id] = self.state.vms[sensor_id]
        if not self.state.reachable:
            log.info("host_answers", host=self.host_id, vms=len(vms))
        self._now(replace(self.state, reachable=True, message="", vms=vms))
        self._dispatch_now.set()

    def _unreachable(self, error: Exception) -> None:
        self._metrics.host_errors.labels(self.host_id).inc()
        reason = error.reason if isinstance(error, HostError) else f"{type(error).__name__}: {error}"
        if self.state.reachable is not False or self.state.message != reason:
            log.warning(
                "host_away",
                host=self.host_id,
                reason=reason,
                exc_info=None if isinstance(error, HostError) else error,
            )
        self._now(replace(self.state, reachable=False, message=reason))

    # --- operations -------------------------------------------------------------------------
    async def _dispatch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._dispatch_now.clear()
            wanted = wanted_operations(self._wish, self.state.vms, self.state.removed)
            self._forget_failures(wanted)
            if self.state.reachable:
                free = AT_ONCE - len(self._under_way)
                for operation in due_operations(wanted, self._under_way, self._failed, loop.time(), free):
                    self._begin(operation)
            at_s = next_due_s(wanted, self._under_way, self._failed) if self.state.reachable else None
            timer = None if at_s is None else loop.call_at(at_s, self._dispatch_now.set)
            await self._dispatch_now.wait()
            if timer is not None:
                timer.cancel()

    def _forget_failures(self, wanted: dict[str, Operation]) -> None:
        gone = [key for key, each in self._failed.items() if wanted.get(key) != each.operation]
        for sensor_id in gone:
            del self._failed[sensor_id]
        if gone:
            failures = {key: each for key, each in self.state.failures.items() if key not in gone}
            self._now(replace(self.state, failures=failures))

    def _begin(self, operation: Operation) -> None:
        task = asyncio.create_task(
            self._operate(operation), name=f"{operation.kind} {operation.sensor_id} on {self.host_id}"
        )
        self._under_way[operation.sensor_id] = task

    async def _operate(self, operation: Operation) -> None:
        sensor_id = operation.sensor_id
        try:
            if operation.kind == "remove":
                await self._driver.remove(sensor_id)
                self._done(operation, None)
            elif (sensor := self._wish.ensure.get(sensor_id)) is not None:
                self._done(operation, await self._driver.ensure(sensor.vm))
        except (RetryableHostError, TerminalHostError) as error:
            self._not_done(operation, error.reason, terminal=isinstance(error, TerminalHostError))
        except Exception as error:  # as in _poll
            log.exception("operation_failed", host=self.host_id, operation=operation)
            self._not_done(operation, f"{type(error).__name__}: {error}", terminal=False)
        finally:
            self._operations += 1
            self._ended[sensor_id] = self._operations
            del self._under_way[sensor_id]
            self._dispatch_now.set()

    def _done(self, operation: Operation, vm: VmState | None) -> None:
        log.info("vm_" + operation.kind + "d", host=self.host_id, sensor=operation.sensor_id)
        sensor_id = operation.sensor_id
        self._failed.pop(sensor_id, None)
        vms = {key: each for key, each in self.state.vms.items() if key != sensor_id}
        removed = self.state.removed - {sensor_id}
        if vm is not None:
            vms[sensor_id] = vm
        elif sensor_id in self._wish.remove:
            removed |= {sensor_id}
        failures = {key: each for key, each in self.state.failures.items() if key != sensor_id}
        self._now(replace(self.state, vms=vms, removed=removed, failures=failures))

    def _not_done(self, operation: Operation, reason: str, *, terminal: bool) -> None:
        self._metrics.operation_errors.labels(self.host_id, operation.kind).inc()
        log.warning(
            "vm_not_" + operation.kind + "d",
            host=self.host_id,
            sensor=operation.sensor_id,
            reason=reason,
            terminal=terminal,
        )
        sensor_id = operation.sensor_id
        now_s = asyncio.get_running_loop().time()
        self._failed[sensor_id] = failed_again(
            self._failed.get(sensor_id), operation, now_s, random.random(), terminal=terminal
        )
        failures = {**self.state.failures, sensor_id: Failure(reason, terminal)}
        self._now(replace(self.state, failures=failures))

    def _now(self, state: HostState) -> None:
        if state != self.state:
            self.state = state
            self._on_change()
