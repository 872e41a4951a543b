"""Fixtures: the double of Power BI, which fails a test that broke a limit without asking for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.sinks.powerbi.support import SECRET_VARIABLE, S, TurnedClock
from tests.support.powerbi import PowerBiDouble


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
