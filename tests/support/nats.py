"""A real nats-server for tests, on a port of its own choosing."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from gaugeway.nats_server import nats_server_binary, nats_server_config

START_TIMEOUT_S = 15.0


@dataclass
class NatsServer:
    """A nats-server process over `folder`; its data survives kill and start.

    With `max_file_store_bytes` its streams get no more than that in all.
    """

    folder: Path
    port: int = -1
    max_file_store_bytes: int | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server and wait until it has written its ports file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for stale in self.folder.glob("*.ports"):
            stale.unlink()
        config = self.folder / "nats.conf"
        text = nats_server_config(port=self.port, data_dir=self.folder / "jetstream", ports_dir=self.folder)
        settings = json.loads(text)
        if self.max_file_store_bytes is not None:
            settings["jetstream"]["max_file_store"] = self.max_file_store_bytes
        config.write_text(json.dumps(settings))
        log = (self.folder / "nats.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [nats_server_binary(), "-c", config], stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            ports = list(self.folder.glob("*.ports"))
            if ports and (text := ports[0].read_text()):
                self.port = int(json.loads(text)["nats"][0].rpartition(":")[2])
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise RuntimeError(f"nats-server did not start: {(self.folder / 'nats.log').read_text()}")

    def kill(self) -> None:
        """SIGKILL the server and reap it."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Stop the server in order and reap it; nothing to do if it is gone."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=10)
