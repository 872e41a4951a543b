"""Fixtures of the API's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from tests.api.server import Api, serving


@pytest.fixture(autouse=True)
def nothing_blocks() -> Iterator[BlockBuster]:
    """Fail what blocks the event loop inside the API."""
    with blockbuster_ctx("control_plane.api") as blocked:
        yield blocked


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """A served API with an empty fleet."""
    async with serving(tmp_path) as api:
        yield api
