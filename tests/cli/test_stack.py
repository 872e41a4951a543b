"""The command line against a Gaugeway that runs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.stack import Stack, wait_for

TIMEOUT_S = 60.0


def gaugeway(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as its user does."""
    return subprocess.run(
        [sys.executable, "-m", "gaugeway", *arguments, "--data-dir", str(stack.data_dir)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("GAUGEWAY_")},
    )


@contextmanager
def sensor(stack: Stack, sensor_id: str, *options: str) -> Iterator[str]:
    """Add a sensor, and remove it at the end."""
    added = gaugeway(stack, "sensors", "add", sensor_id, *options)
    try:
        assert added.returncode == 0, added.stderr
        assert added.stdout.startswith(f"{sensor_id} is live: ")
        yield sensor_id
    finally:
        gaugeway(stack, "sensors", "remove", sensor_id)


@pytest.mark.timeout(180)
def test_a_sensor_from_add_to_remove(shared_stack: Stack) -> None:
    """Add waits until readings flow; list, show, audit and windows have them; remove waits for the end."""
    with sensor(
        shared_stack, "cli-1", "--replay", "machine_temperature", "--speed", "3000", "--site", "hall-7"
    ):
        shown = json.loads(gaugeway(shared_stack, "sensors", "show", "cli-1", "--json").stdout)
        assert (shown["status"], shown["site"], shown["source"]["speed"]) == ("live", "hall-7", 3000)
        listed = json.loads(gaugeway(shared_stack, "sensors", "list", "--json").stdout)
        assert "cli-1" in [each["id"] for each in listed["sensors"]]

        def has_window() -> bool:
            answer = gaugeway(shared_stack, "windows", "cli-1", "temperature", "--size", "10s", "--json")
            return bool(json.loads(answer.stdout)["windows"])

        wait_for("a window of 10 s is in the warehouse", has_window, TIMEOUT_S)
        table = gaugeway(shared_stack, "windows", "cli-1", "temperature").stdout
        assert table.startswith("temperature in [degF], means ")
        audit = json.loads(gaugeway(shared_stack, "audit", "--json").stdout)
        (counts,) = [each for each in audit["sensors"] if each["sensor_id"] == "cli-1"]
        assert counts["received"] == counts["aggregated"] > 0

        again = gaugeway(shared_stack, "sensors", "add", "cli-1")
        assert (again.returncode, again.stdout) == (4, "")
        assert "exists already" in again.stderr
        assert gaugeway(shared_stack, "windows", "cli-1", "pressure").returncode == 4
        removed = gaugeway(shared_stack, "sensors", "remove", "cli-1", "--json")
        assert json.loads(removed.stdout) == {"id": "cli-1", "status": "removed"}
    assert gaugeway(shared_stack, "sensors", "show", "cli-1").returncode == 3


@pytest.mark.parametrize(
    ("command", "key"),
    [
        ("hosts list", "hosts"),
        ("nodes list", "nodes"),
        ("sinks list", "sinks"),
        ("audit", "shards"),
        ("status", "sensors"),
    ],
)
def test_every_view_prints_a_table_and_json(shared_stack: Stack, command: str, key: str) -> None:
    """Both with exit code 0, nothing on stderr."""
    told = gaugeway(shared_stack, *command.split(), "--json")
    assert (told.returncode, told.stderr) == (0, "")
    assert json.loads(told.stdout)[key]
    told = gaugeway(shared_stack, *command.split())
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout


@pytest.mark.parametrize("name", ["lab-host", "control-plane", "envoy", "sink-warehouse"])
def test_a_killed_process_comes_back_where_it_was(shared_stack: Stack, name: str) -> None:
    """Another pid in up.json, the same addresses, no other process restarted; a sensor streams again."""
    with sensor(
        shared_stack, f"killed-{name}", "--metric", "memory_used", "--interval", "100ms"
    ) as sensor_id:
        addresses = {key: value for key, value in shared_stack.info.items() if key.endswith("_url")}
        pids = shared_stack.pids()
        before = pids.pop(name)
        os.kill(before, signal.SIGKILL)
        wait_for(f"{name} is another process", lambda: shared_stack.pids()[name] != before, TIMEOUT_S)

        def is_live() -> bool:
            told = gaugeway(shared_stack, "sensors", "show", sensor_id, "--json")
            return told.returncode == 0 and json.loads(told.stdout)["status"] == "live"

        wait_for("the sensor is live", is_live, TIMEOUT_S)
        up = json.loads((shared_stack.data_dir / "run" / "up.json").read_text())
        assert {key: up[key] for key in addresses} == addresses
        assert {other: up["pids"][other] for other in pids} == pids
        assert f"{name} was ended by SIGKILL: started again in 0.1 s" in shared_stack.log.read_text()


def test_a_second_up_on_the_same_data_directory_is_refused(shared_stack: Stack) -> None:
    """Exit code 7; the sentence names the first one's process."""
    told = gaugeway(shared_stack, "up")
    assert told.returncode == 7
    assert shared_stack.process is not None
    assert f"already runs on {shared_stack.data_dir} (process {shared_stack.process.pid})" in told.stderr


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    """Exit code 6; which port, by whom, and the option that changes it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        told = gaugeway(Stack(tmp_path), "up", f"--nats-port={port}", "--api-port=0", "--xds-port=0",
                        "--envoy-admin-port=0", "--gateway-port=0")  # fmt: skip
    assert told.returncode == 6
    assert f"port {port} for NATS is taken by " in told.stderr
    assert f"(process {os.getpid()})" in told.stderr
    assert "--nats-port" in told.stderr


def test_a_bad_configuration_file_is_refused(tmp_path: Path) -> None:
    """Exit code 2; the file, the field and the rule. Nothing was started."""
    file = tmp_path / "gaugeway.toml"
    file.write_text('[bigquery]\nprojekt = "p"\ndataset = "d"\n')
    told = gaugeway(Stack(tmp_path / "data"), "up", "--config", str(file))
    assert told.returncode == 2
    assert f"{file}: bigquery.projekt is not a setting" in told.stderr
    assert not (tmp_path / "data" / "run" / "logs").exists()
