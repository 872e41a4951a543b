"""Fixtures: the double of Power BI, which fails a test that broke a limit without asking for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ext_proc.sinks.powerbi.target import PowerBiSink
from tests.sinks.powerbi.support import SECRET_VARIABLE, Opened, S, TurnedClock, configure, windows_dataset
from tests.support.powerbi import PowerBiDouble
from tests.support.powerbi_limits import Dataset


@pytest.fixture
def clock() -> TurnedClock:
    """A clock for sink and service."""
    return TurnedClock(7 * S)


@pytest.fixture
async def service(clock: TurnedClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PowerBiDouble]:
    """The double, on the test's clock; its client secret is in the environment."""
    double = PowerBiDouble(clock.seconds)
    monkeypatch.setenv(SECRET_VARIABLE, double.client_secret)
    await double.start()
    yield double
    await double.close()
    assert double.breaches == []


@pytest.fixture
def dataset(service: PowerBiDouble) -> Dataset:
    """The model with the windows table."""
    return windows_dataset(service)


@pytest.fixture
def opened(service: PowerBiDouble, clock: TurnedClock, dataset: Dataset) -> Opened:
    """Return a started sink on the test's clock."""

    @asynccontextmanager
    async def open_sink(**changes: object) -> AsyncIterator[PowerBiSink]:
        sink = PowerBiSink(configure(service, dataset, **changes), clock)
        try:
            await sink.start()
            yield sink
        finally:
            await sink.close()

    return open_sink
