"""What tests of a whole installation share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack import Stack


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A running Gaugeway without sensors."""
    stack = Stack(tmp_path / "data")
    stack.start()
    try:
        yield stack
    finally:
        stack.stop()
