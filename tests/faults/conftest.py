"""A running Gaugeway for faults to happen to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.hands import short_windows
from tests.faults.power_loss import ENVIRONMENT
from tests.support.stack import Stack


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A running Gaugeway with short windows and no sensors; its agents note their fsyncs."""
    stack = Stack(tmp_path / "data", environment=ENVIRONMENT)
    stack.start()
    try:
        short_windows(stack)
        yield stack
    finally:
        stack.stop()
