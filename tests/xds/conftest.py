"""Fixtures of the xDS tests."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["delta", "sotw"])
def variant(request: pytest.FixtureRequest) -> str:
    """Each variant of the protocol."""
    return str(request.param)
