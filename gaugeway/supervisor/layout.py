"""Where one machine's installation keeps what: the data directory."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SOCKET_PATH_BYTES: Final = 107  # what sockaddr_un holds


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths under `data_dir`. What `run/` holds is of one run; the rest is the installation's."""

    data_dir: Path

    @property
    def run(self) -> Path:
        """Configurations, logs and state of the run."""
        return self.data_dir / "run"

    @property
    def up_file(self) -> Path:
        """What runs now, JSON: pids, addresses."""
        return self.run / "up.json"

    @property
    def logs(self) -> Path:
        """A log for each process."""
        return self.run / "logs"

    @property
    def token_file(self) -> Path:
        """The API's bearer token."""
        return self.data_dir / "token"

    @property
    def demo_file(self) -> Path:
        """The demo sensors that were ever added, JSON: one that somebody removed stays away."""
        return self.data_dir / "demo.json"

    @property
    def nats(self) -> Path:
        """JetStream's files."""
        return self.data_dir / "nats"

    @property
    def control(self) -> Path:
        """The control plane's SQL store."""
        return self.data_dir / "control"

    @property
    def lab(self) -> Path:
        """The lab host's VMs."""
        return self.data_dir / "lab"

    def log(self, name: str) -> Path:
        """Return the log of a process."""
        return self.logs / f"{name}.log"

    def config(self, name: str) -> Path:
        """Return the configuration that a process was last started with."""
        return self.run / "config" / name

    def ready(self, name: str) -> Path:
        """Return the file in which a process says that it serves."""
        return self.run / "ready" / name

    def socket(self, name: str) -> Path:
        """Return the path of a Unix socket; outside `data_dir` if that is too deep for one."""
        inside = self.run / f"{name}.sock"
        if len(os.fsencode(inside)) <= _SOCKET_PATH_BYTES:
            return inside
        digest = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"gaugeway-{os.getuid()}-{digest}" / f"{name}.sock"

    def make(self) -> None:
        """Make the folders."""
        for folder in (self.logs, self.config("x").parent, self.ready("x").parent, self.nats):
            folder.mkdir(parents=True, exist_ok=True)
        self.run.chmod(0o700)  # configurations may name credentials
        self.socket("x").parent.mkdir(mode=0o700, parents=True, exist_ok=True)
