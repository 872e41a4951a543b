"""What a host is asked for, and a keeper with a driver that does as the test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from control_plane.reconcile.host_keeper import AT_ONCE, HostKeeper
from control_plane.reconcile.metrics import ReconcileMetrics
from control_plane.reconcile.operations import (
    LAST_RETRY_S,
    Attempt,
    Operation,
    due_operations,
    failed_again,
    next_due_s,
    wanted_operations,
)
from control_plane.reconcile.wishes import HostWish
from control_plane.store.records import Sensor
from hyperv.errors import RetryableHostError, TerminalHostError
from hyperv.model import Endpoint, VmSpec, VmState
from tests.control_plane.sim import running_vm, sensor

HERE = Endpoint(address="127.20.0.1", port=7070)
ENSURE, REMOVE = Operation("ensure", "a", "1"), Operation("remove", "b")


def wish_for(*names: str, remove: tuple[str, ...] = ()) -> HostWish:
    """Return the wish for these sensors' VMs."""
    return HostWish({name: sensor(name) for name in names}, frozenset(remove))


def test_what_differs_or_lacks_is_ensured_and_removals_come_first() -> None:
    """A VM as specified is left alone; a removal is asked for even of what is not there."""
    stored: Sensor = sensor("a")
    vms = {
        "a": running_vm(stored, HERE),
        "b": running_vm(sensor("b"), HERE).model_copy(update={"spec_hash": "old"}),
    }
    operations = wanted_operations(wish_for("a", "b", "c", remove=("d",)), vms, frozenset())
    assert [(each.kind, name) for name, each in operations.items()] == [
        ("remove", "d"),
        ("ensure", "b"),
        ("ensure", "c"),
    ]
    assert wanted_operations(wish_for(remove=("d",)), {}, frozenset({"d"})) == {}


def test_operations_wait_for_their_turn_and_their_time() -> None:
    """One at a time for a sensor, no more than there is room for, none before its time."""
    wanted = {"a": ENSURE, "b": REMOVE}
    assert due_operations(wanted, (), {}, 0.0, 1) == [ENSURE]
    assert due_operations(wanted, ("a",), {}, 0.0, 2) == [REMOVE]
    failed = {"a": Attempt(ENSURE, 1, 5.0)}
    assert due_operations(wanted, (), failed, 4.9, 2) == [REMOVE]
    assert due_operations(wanted, (), failed, 5.0, 2) == [ENSURE, REMOVE]
    assert next_due_s(wanted, (), failed) == 5.0
    assert due_operations({"a": Operation("ensure", "a", "2")}, (), failed, 0.0, 1), (
        "another wish is tried at once"
    )


@pytest.mark.parametrize(
    ("times", "low", "high"), [(1, 0.1, 0.2), (3, 0.4, 0.8), (50, LAST_RETRY_S / 2, LAST_RETRY_S)]
)
def test_retries_back_off_with_jitter(times: int, low: float, high: float) -> None:
    """Twice as long each time, up to a limit; a refusal waits a minute."""
    attempt: Attempt | None = None
    for _ in range(times):
        attempt = failed_again(attempt, ENSURE, 0.0, 1.0, terminal=False)
    assert attempt is not None
    assert attempt.at_s == pytest.approx(high)
    assert failed_again(
        Attempt(ENSURE, times - 1, 0.0) if times > 1 else None, ENSURE, 0.0, 0.0, terminal=False
    ).at_s == pytest.approx(low)
    assert failed_again(None, ENSURE, 0.0, 1.0, terminal=True).at_s == pytest.approx(60)


class ScriptedDriver:
    """A host in memory. `away` and `refuses` say how it fails; `hold` keeps operations from ending."""

    def __init__(self) -> None:
        self.vms: dict[str, VmState] = {}
        self.version = 0
        self.away = False
        self.refuses: set[str] = set()
        self.hold = asyncio.Event()
        self.hold.set()
        self.under_way = 0
        self.most = 0
        self.busy = asyncio.Event()  # as many are under way as may be
        self.closed = False

    async def inventory(self) -> list[VmState]:
        """See HostDriver."""
        if self.away:
            raise RetryableHostError("lab", "no answer")
        return list(self.vms.values())

    async def ensure(self, spec: VmSpec) -> VmState:
        """See HostDriver."""
        await self._work(spec.sensor_id)
        vm = running_vm(sensor(spec.sensor_id), HERE)
        self.vms[spec.sensor_id] = vm
        return vm

    async def remove(self, sensor_id: str) -> None:
        """See HostDriver."""
        await self._work(sensor_id)
        self.vms.pop(sensor_id, None)

    async def wait_change(self, after: int, timeout_s: float) -> int:
        """See HostDriver."""
        if self.away:
            raise RetryableHostError("lab", "no answer")
        if after >= self.version:
            await asyncio.sleep(min(timeout_s, 0.02))
        return self.version

    async def close(self) -> None:
        """See HostDriver."""
        self.closed = True

    async def _work(self, sensor_id: str) -> None:
        if sensor_id in self.refuses:
            raise TerminalHostError("lab", "no room")
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        if self.under_way == AT_ONCE:
            self.busy.set()
        try:
            await self.hold.wait()
        finally:
            self.under_way -= 1


class Kept:
    """A running keeper; `until` waits on what it says."""

    def __init__(self, driver: ScriptedDriver) -> None:
        self.changed = asyncio.Event()
        self.keeper = HostKeeper("lab", driver, self.changed.set, ReconcileMetrics(CollectorRegistry()))

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until `holds`, looking after each change."""
        async with asyncio.timeout(10):
            while not holds():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def kept(driver: ScriptedDriver) -> AsyncIterator[Kept]:
    """Return a keeper that runs."""
    whole = Kept(driver)
    task = asyncio.create_task(whole.keeper.run())
    try:
        yield whole
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert driver.closed


async def test_a_keeper_makes_and_removes_vms() -> None:
    """The wish becomes true, and the removal is proved by the host's answer."""
    driver = ScriptedDriver()
    async with kept(driver) as host:
        host.keeper.wish(wish_for("a", "b"))
        await host.until(lambda: host.keeper.state.vms.keys() == {"a", "b"})
        host.keeper.wish(wish_for("a", remove=("b",)))
        await host.until(lambda: host.keeper.state.removed == {"b"})
        assert driver.vms.keys() == {"a"}
        host.keeper.wish(wish_for("a", "b"))
        await host.until(lambda: "b" in host.keeper.state.vms)
        assert host.keeper.state.removed == frozenset()


async def test_a_keeper_does_a_few_things_at_once() -> None:
    """A fleet that starts does not overrun its host."""
    driver = ScriptedDriver()
    driver.hold.clear()
    names = [f"s-{number}" for number in range(3 * AT_ONCE)]
    async with kept(driver) as host:
        host.keeper.wish(wish_for(*names))
        async with asyncio.timeout(10):
            await driver.busy.wait()
        driver.hold.set()
        await host.until(lambda: host.keeper.state.vms.keys() == set(names))
    assert driver.most == AT_ONCE


async def test_a_host_that_is_away_keeps_its_vms() -> None:
    """It is unreachable with a reason; when it is back, what was missed is done."""
    driver = ScriptedDriver()
    async with kept(driver) as host:
        host.keeper.wish(wish_for("a"))
        await host.until(lambda: "a" in host.keeper.state.vms)
        driver.away = True
        await host.until(lambda: host.keeper.state.reachable is False)
        assert host.keeper.state.message == "no answer"
        assert "a" in host.keeper.state.vms
        host.keeper.wish(wish_for("a", "b"))
        driver.away = False
        await host.until(lambda: "b" in host.keeper.state.vms)


async def test_a_refusal_is_said_and_ends_with_the_wish() -> None:
    """The reason is in the state; the others go on."""
    driver = ScriptedDriver()
    driver.refuses.add("a")
    async with kept(driver) as host:
        host.keeper.wish(wish_for("a", "b"))
        await host.until(lambda: "b" in host.keeper.state.vms and "a" in host.keeper.state.failures)
        failure = host.keeper.state.failures["a"]
        assert (failure.reason, failure.terminal) == ("no room", True)
        host.keeper.wish(wish_for("b"))
        await host.until(lambda: not host.keeper.state.failures)


async def test_nonsense_from_a_driver_is_that_host_s_trouble() -> None:
    """An error that no driver should raise makes the host unreachable, not the control plane."""

    class Broken(ScriptedDriver):
        async def inventory(self) -> list[VmState]:
            raise KeyError("vms")

    driver = Broken()
    async with kept(driver) as host:
        await host.until(lambda: host.keeper.state.reachable is False)
        assert "KeyError" in host.keeper.state.message
