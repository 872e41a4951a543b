"""What is checked before anything starts: locks and ports."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gaugeway.supervisor.errors import AlreadyRunningError, LeftoversError, PortTakenError, PortUnusableError
from gaugeway.supervisor.layout import Layout
from gaugeway.supervisor.lock import data_dir_lock
from gaugeway.supervisor.ports import check_port


def test_a_second_supervisor_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    """The sentence names the data directory and the process."""
    with data_dir_lock(tmp_path, tmp_path / "run"):
        with pytest.raises(AlreadyRunningError) as error, data_dir_lock(tmp_path, tmp_path / "run"):
            pass
        assert f"already runs on {tmp_path} (process {os.getpid()})" in str(error.value)
    with data_dir_lock(tmp_path, tmp_path / "run"):
        pass  # free again


def test_leftovers_of_a_killed_supervisor_are_waited_for(tmp_path: Path) -> None:
    """A process that inherited the lock keeps others out until it ends, and is named."""
    with data_dir_lock(tmp_path, tmp_path / "run") as inherited:
        left = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[inherited], text=True
        )
    try:
        with (
            pytest.raises(LeftoversError, match=rf"\({left.pid}\)"),
            data_dir_lock(tmp_path, tmp_path / "run", 0.1),
        ):
            pass
        left.communicate("\n")
        with data_dir_lock(tmp_path, tmp_path / "run", 5):
            pass
    finally:
        left.kill()
        left.wait()


def test_a_taken_port_is_named_with_its_owner_and_its_option() -> None:
    """The sentence says which port, by whom it is taken, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTakenError) as error:
            check_port("the API", "127.0.0.1", port, "--api-port")
    text = str(error.value)
    assert f"port {port} for the API is taken by " in text
    assert f"(process {os.getpid()})" in text
    assert "--api-port" in text
    check_port("the API", "127.0.0.1", port, "--api-port")


def test_an_address_that_the_machine_does_not_have_is_no_taken_port() -> None:
    """The sentence says what the system says."""
    with pytest.raises(PortUnusableError, match="Cannot assign requested address"):
        check_port("the API", "192.0.2.1", 8480, "--api-port")


def test_sockets_of_a_deep_data_directory_lie_elsewhere(tmp_path: Path) -> None:
    """A Unix socket's path has at most 107 bytes."""
    shallow, deep = Layout(Path("/d")), Layout(tmp_path / ("d" * 120))
    assert shallow.socket("worker") == Path("/d/run/worker.sock")
    assert len(os.fsencode(deep.socket("worker"))) <= 107
    assert deep.socket("worker") != Layout(tmp_path / ("e" * 120)).socket("worker")
