"""How long until something is there: the first rows after a start, the first window of a new sensor.

    python -m bench.first_row [--runs N]

Each run starts a Gaugeway of its own as a user does, with its demo fleet, in
an empty temporary data directory, every port chosen by the system.

`first_warehouse_row_s`: from the start of the process `gaugeway up` until a
query of the local warehouse returns a reading. `first_live_window_s`: from the
start of the process `gaugeway sensors add` (a machine sensor of the lab) until
`/v1/live/windows` delivers a 1 s window of it. Both include the start of
Python and everything that users wait for; set-up (`make`) is not included.
Warehouse and event stream are watched by this process, every 20 ms the first,
so the machine is a little busier than it need be. Progress goes to stderr.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from ext_proc.sinks.warehouse.query import connect_views

START_TIMEOUT_S = 90.0
POLL_S = 0.02
SENSOR = "bench-1"
METRICS = ("cpu_load", "memory_used")


def say(text: str) -> None:
    """Tell whoever waits."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def gaugeway_up(data_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `gaugeway up`, ended in order at the end."""
    ports = [f"--{name}-port=0" for name in ("api", "xds", "envoy-admin", "gateway", "nats")]
    ready = ["--ready-file", str(data_dir / "ready.json")]
    with (data_dir / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gaugeway", "up", "--data-dir", str(data_dir), *ready, *ports],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.send_signal(2)
        process.wait(timeout=120)


def wait_first_row(process: subprocess.Popen[bytes], data_dir: Path) -> None:
    """Wait until the warehouse answers with a reading."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _has_row(data_dir / "warehouse"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError((data_dir / "up.log").read_text())
        time.sleep(POLL_S)


def _has_row(warehouse: Path) -> bool:
    if next(warehouse.rglob("*.parquet"), None) is None:
        return False  # a query costs more than a look
    try:
        with connect_views(warehouse) as connection:
            return bool(connection.execute("SELECT 1 FROM readings LIMIT 1").fetchone())
    except (duckdb.Error, OSError):
        return False  # a file that is just being written or merged


def wait_ready(data_dir: Path) -> dict[str, Any]:
    """Wait for the ready file; return it."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not (data_dir / "ready.json").exists():
        if time.monotonic() > deadline:
            raise RuntimeError((data_dir / "up.log").read_text())
        time.sleep(POLL_S)
    info: dict[str, Any] = json.loads((data_dir / "ready.json").read_text())
    return info


def first_live_window_s(info: dict[str, Any], data_dir: Path) -> float:
    """Add a sensor with the command line; return the seconds to its first live 1 s window."""
    began = time.monotonic()
    adding = subprocess.Popen(
        [sys.executable, "-m", "gaugeway", "sensors", "add", SENSOR, "--no-wait"]
        + ["--interval", "250ms", "--data-dir", str(data_dir)]
        + [word for name in METRICS for word in ("--metric", name)],
        stdout=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if not name.startswith("GAUGEWAY_")},
    )
    try:
        for event in live_windows(info, SENSOR):
            if any(window["size_ms"] == 1000 for window in event["windows"]):
                return time.monotonic() - began
    finally:
        if adding.wait(timeout=30) != 0:
            raise RuntimeError("`gaugeway sensors add` failed")
    raise RuntimeError("the event stream ended")


def live_windows(info: dict[str, Any], sensor_id: str) -> Iterator[dict[str, Any]]:
    """Yield a sensor's live windows; the stream is opened again while the sensor does not exist yet."""
    host = urllib.parse.urlsplit(info["api_url"]).netloc
    token = Path(info["token_file"]).read_text().strip()
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(host, timeout=START_TIMEOUT_S)
        try:
            connection.request(
                "GET", f"/v1/live/windows?sensor={sensor_id}", headers={"Authorization": f"Bearer {token}"}
            )
            response = connection.getresponse()
            if response.status == 200:
                for line in response:
                    if line.startswith(b"data:"):
                        yield json.loads(line.removeprefix(b"data:"))
        finally:
            connection.close()
        time.sleep(POLL_S)


def run_once(number: int) -> dict[str, float]:
    """Start one Gaugeway and measure both."""
    with tempfile.TemporaryDirectory(prefix="gaugeway-bench-") as folder:
        data_dir = Path(folder)
        began = time.monotonic()
        with gaugeway_up(data_dir) as process:
            wait_first_row(process, data_dir)
            row_s = time.monotonic() - began
            info = wait_ready(data_dir)
            ready_s = time.monotonic() - began
            window_s = first_live_window_s(info, data_dir)
    say(f"run {number}: first row {row_s:.2f} s, ready {ready_s:.2f} s, first live window {window_s:.2f} s")
    return {"first_warehouse_row_s": row_s, "ready_s": ready_s, "first_live_window_s": window_s}


def main() -> None:
    """Run all and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    runs = [run_once(number) for number in range(1, options.runs + 1)]
    medians = {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}
    worst = {f"{name}_max": round(max(run[name] for run in runs), 3) for name in runs[0]}
    rounded = [{name: round(value, 3) for name, value in run.items()} for run in runs]
    print(json.dumps({"bench": "first_row", **medians, **worst, "cores": os.cpu_count(), "runs": rounded}))


if __name__ == "__main__":
    main()
