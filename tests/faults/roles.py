"""Roles and Envoys as processes of a test's own: no supervisor starts them again."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envoy_bootstrap.binary import envoy_command
from envoy_bootstrap.bootstrap import BootstrapConfig, build_bootstrap
from tests.support.stack import wait_for
from wire.names import GATEWAY_LISTENER

READY_S = 60.0
END_S = 20.0


@dataclass
class OwnProcess:
    """One process; its log is in `folder`."""

    folder: Path
    name: str
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """The running process."""
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> str:
        """What it logged."""
        return (self.folder / f"{self.name}.log").read_text()

    def run(self, *command: str) -> None:
        """Start it."""
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def await_text(self, file: Path) -> str:
        """Wait until the process has written `file`; return its text."""

        def written() -> str | None:
            assert self.process is not None
            assert self.process.poll() is None, self.log
            return (file.exists() and file.read_text()) or None

        return wait_for(f"{self.name} serves", written, READY_S)

    def stop(self) -> None:
        """End it in order; nothing to do if it is gone."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=END_S)

    def kill(self) -> None:
        """SIGKILL it and reap it."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()


def start_role(folder: Path, role: str, config: dict[str, Any]) -> OwnProcess:
    """Return a role that serves, run as `gaugeway run` does it."""
    file, ready = folder / f"{role}.json", folder / f"{role}.ready"
    file.write_text(json.dumps(config))
    ready.unlink(missing_ok=True)
    process = OwnProcess(folder, role)
    process.run(
        *(sys.executable, "-m", "gaugeway", "run", role),
        *("--config", str(file), "--ready-file", str(ready)),
    )
    process.await_text(ready)
    return process


@dataclass
class Node:
    """A node beside that of an installation: an Envoy and a worker of its own."""

    node_id: str
    envoy: OwnProcess
    worker: OwnProcess

    def stop(self) -> None:
        """End both."""
        self.worker.stop()
        self.envoy.stop()


def start_node(info: Mapping[str, Any], folder: Path, node_id: str) -> Node:
    """Return a node of the installation with these addresses, both of its parts serving."""
    folder.mkdir()
    host, _, port = info["xds_address"].rpartition(":")
    socket = folder / "worker.sock"
    bootstrap, admin = folder / "bootstrap.json", folder / "admin"
    bootstrap.write_text(
        build_bootstrap(
            BootstrapConfig(node_id=node_id, xds_host=host, xds_port=int(port), ext_proc_socket=str(socket))
        )
    )
    envoy = OwnProcess(folder, "envoy")
    envoy.run(*envoy_command(bootstrap, admin_address_path=admin, log_level="warning"))
    admin_url = f"http://{envoy.await_text(admin)}"
    config = {
        "node_id": node_id,
        "xds_address": info["xds_address"],
        "nats_url": info["nats_url"],
        "gateway_url": wait_for("the gateway listens", lambda: _gateway(admin_url), READY_S),
        "ext_proc_socket": str(socket),
    }
    return Node(node_id, envoy, start_role(folder, "worker", config))


def _gateway(admin_url: str) -> str | None:
    with urllib.request.urlopen(f"{admin_url}/listeners?format=json", timeout=5) as answer:
        listeners = json.loads(answer.read()).get("listener_statuses", [])
    for each in listeners:
        if each["name"] == GATEWAY_LISTENER:
            address = each["local_address"]["socket_address"]
            return f"http://{address['address']}:{address['port_value']}"
    return None
