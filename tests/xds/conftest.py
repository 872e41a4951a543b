"""Fixtures of the xDS tests."""

from __future__ import annotations

import pytest

from tests.xds.support import Variant


@pytest.fixture(params=["delta", "sotw"])
def variant(request: pytest.FixtureRequest) -> Variant:
    """Each variant of the protocol."""
    chosen: Variant = request.param
    return chosen
