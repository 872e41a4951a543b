"""Fixtures of the conformance suite."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.conformance.plane import Plane, control_plane


@pytest.fixture(params=["delta", "sotw"])
def variant(request: pytest.FixtureRequest) -> str:
    """Each variant of the protocol."""
    return str(request.param)


@pytest.fixture
async def plane() -> AsyncIterator[Plane]:
    """A control plane that has published nothing."""
    async with control_plane() as running:
        yield running
