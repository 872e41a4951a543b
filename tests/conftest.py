"""Fixtures that every house's tests share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bigquery import BigQueryEmulator, EmulatorProcess
from tests.support.nats import NatsServer
from tests.support.stack import Stack


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A running nats-server with JetStream and an empty store."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def bigquery_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    """A running BigQuery emulator, in an environment that is made if need be."""
    server = EmulatorProcess(tmp_path_factory.mktemp("bigquery"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def bigquery_emulator(bigquery_server: EmulatorProcess) -> Iterator[BigQueryEmulator]:
    """An empty dataset of its own in the BigQuery emulator."""
    emulator = BigQueryEmulator(bigquery_server, f"test_{uuid.uuid4().hex[:12]}")
    yield emulator
    emulator.close()


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running Gaugeway without a demo fleet, for tests that leave it as they found it.

    They add sensors under ids of their own and remove them.
    """
    stack = Stack(tmp_path_factory.mktemp("gaugeway"))
    stack.start()
    yield stack
    assert stack.stop() == 0
