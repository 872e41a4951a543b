"""A whole Gaugeway, started as a user starts it: `gaugeway up` in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

T = TypeVar("T")

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 40.0
POLL_S = 0.1


def wait_for(what: str, probe: Callable[[], T | None], timeout_s: float) -> T:
    """Return the first result of `probe` that is not None or False; fail with `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        result = probe()
        if result is not None and result is not False:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(POLL_S)


@dataclass
class ApiError(Exception):
    """The API answered with a problem."""

    status: int
    problem: dict[str, Any]


@dataclass
class Stack:
    """One `gaugeway up` over `data_dir`, with every port chosen by the system."""

    data_dir: Path
    arguments: Sequence[str] = ("--no-demo",)
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    info: dict[str, Any] = field(default_factory=dict)

    def start(self) -> None:
        """Start it and wait for its ready file."""
        ready = self.begin()
        wait_for("`gaugeway up` is ready", lambda: self._ready(ready), START_TIMEOUT_S)

    def begin(self) -> Path:
        """Start it; return its ready file, which it has still to write."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        ready = self.data_dir / "ready.json"
        ready.unlink(missing_ok=True)
        ports = [f"--{name}-port=0" for name in ("api", "envoy-admin", "gateway", "nats", "xds")]
        command = [sys.executable, "-m", "gaugeway", "up", "--data-dir", str(self.data_dir)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--ready-file", str(ready), *ports, *self.arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self.environment},
            )
        return ready

    @property
    def log(self) -> Path:
        """What `gaugeway up` prints."""
        return self.data_dir / "up.log"

    def _ready(self, file: Path) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(
                f"`gaugeway up` ended with {self.process.returncode}:\n{self.log.read_text()}"
            )
        if not file.exists():
            return False
        self.info = json.loads(file.read_text())
        return True

    def stop(self) -> int:
        """Stop it as Ctrl-C does; return its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=STOP_TIMEOUT_S)

    def pids(self) -> dict[str, int]:
        """Return the processes as they are now, by name."""
        up = json.loads((self.data_dir / "run" / "up.json").read_text())
        return cast("dict[str, int]", up["pids"])

    def api(self, method: str, path: str, body: object = None) -> Any:
        """Call the API; return its JSON. Raises ApiError on 4xx and 5xx."""
        headers = {"Authorization": f"Bearer {self.token()}"}
        return self._request(self.info["api_url"] + path, method, body, headers)

    def token(self) -> str:
        """Return the operator's token."""
        return Path(self.info["token_file"]).read_text().strip()

    def lab(self, method: str, path: str, body: object = None) -> Any:
        """Call the built-in lab host, as its operator would."""
        return self._request(self.info["lab_url"] + path, method, body, {})

    @staticmethod
    def _request(url: str, method: str, body: object, headers: dict[str, str]) -> Any:
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers = {**headers, "Content-Type": "application/json"}
        request = urllib.request.Request(url, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            with error:
                raise ApiError(error.code, json.loads(error.read() or b"{}")) from error
        return json.loads(text) if text else None
