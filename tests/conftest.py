"""Fixtures that every house's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.nats import NatsServer


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A running nats-server with JetStream and an empty store."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.stop()
