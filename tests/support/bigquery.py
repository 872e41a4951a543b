"""A real BigQuery emulator for tests, in a process and an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.api_core.exceptions import BadRequest, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from ext_proc.sinks.bigquery.config import BigQueryTarget
from tests.e2e.oracle import Reading, WindowKey

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "bigquery_emulator"
PROJECT = "gaugeway-tests"
WINDOW_COLUMNS = ("count", "min", "max", "sum", "mean", "stddev", "first", "last", "p50", "p95", "p99")
END_TIMEOUT_S = 10.0
# What bqemulator says of a query beside an append to the same table; the next try is answered.
_BESIDE_AN_APPEND = "closed pending query result"
_TRIES = 10


@dataclass
class EmulatorProcess:
    """The emulator of this machine (scripts/bigquery_emulator says which), its data below `folder`.

    Attributes:
        emulator: `local-bigquery`, or `bqemulator` where there is no Python 3.13.
        rest: `http://host:port`.
        grpc: `host:port`.
    """

    folder: Path
    emulator: str = ""
    rest: str = ""
    grpc: str = ""
    process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Make the environment if need be, start the emulator and wait until it serves."""
        made = subprocess.run(
            [sys.executable, SCRIPTS / "make.py"], capture_output=True, text=True, check=False
        )
        if made.returncode != 0:
            raise RuntimeError(made.stderr)
        place = json.loads(made.stdout)
        self.emulator = place["emulator"]
        server = SCRIPTS / f"serve_{self.emulator.replace('-', '_')}.py"
        with (self.folder / "emulator.log").open("ab") as log:
            self.process = subprocess.Popen(
                [place["python"], server, self.folder / "data"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "HOME": place["home"]},
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{server.name} did not start: {(self.folder / 'emulator.log').read_text()}")
        ports = json.loads(line)
        self.rest, self.grpc = ports["rest"], ports["grpc"]

    def stop(self) -> None:
        """End the emulator by ending its standard input, and reap it."""
        if self.process is None:
            return
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class BigQueryEmulator:
    """One empty dataset in an emulator, and what tests ask of it."""

    def __init__(self, server: EmulatorProcess, dataset: str) -> None:
        self.server = server
        self.project = PROJECT
        self.dataset = dataset
        self.client = bigquery.Client(
            PROJECT,
            AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": server.rest},
        )
        self.client.create_dataset(f"{PROJECT}.{dataset}")

    @property
    def strict(self) -> bool:
        """Whether it checks rows and schemas as BigQuery does."""
        return self.server.emulator == "local-bigquery"

    def close(self) -> None:
        """Remove the dataset and let go of the connection."""
        self.client.delete_dataset(f"{self.project}.{self.dataset}", delete_contents=True, not_found_ok=True)
        self.client.close()  # type: ignore[no-untyped-call]

    def target(
        self, *, readings: bool = True, window_sizes_ms: Sequence[int] = (10_000, 60_000)
    ) -> BigQueryTarget:
        """Return the configuration of a sink that delivers to this dataset."""
        return BigQueryTarget(
            project=self.project,
            dataset=self.dataset,
            readings=readings,
            window_sizes_ms=tuple(window_sizes_ms),
            rest_endpoint=self.server.rest,
            grpc_endpoint=self.server.grpc,
        )

    def gaugeway_toml(self, *, readings: bool, window_sizes_ms: Sequence[int]) -> str:
        """Return a configuration file that names this dataset."""
        settings = {
            "project": self.project,
            "dataset": self.dataset,
            "readings": readings,
            "window_sizes": [f"{size // 1000}s" for size in window_sizes_ms],
            "rest_endpoint": self.server.rest,
            "grpc_endpoint": self.server.grpc,
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]  # JSON's are TOML's here
        return "\n".join(["[bigquery]", *lines, ""])

    def query(
        self,
        sql: str,
        parameters: Sequence[bigquery.ScalarQueryParameter | bigquery.ArrayQueryParameter] = (),
    ) -> list[tuple[Any, ...]]:
        """Run GoogleSQL with this dataset as the default one; no rows while a table does not exist."""
        config = bigquery.QueryJobConfig(
            query_parameters=list(parameters), default_dataset=f"{self.project}.{self.dataset}"
        )
        tries = 0
        while True:
            tries += 1
            try:
                return [tuple(row.values()) for row in self.client.query(sql, job_config=config).result()]
            except NotFound:
                return []
            except BadRequest as error:
                if _BESIDE_AN_APPEND not in str(error) or tries == _TRIES:
                    raise

    def readings(self, sensor_id: str) -> list[Reading]:
        """Return every row of the sensor, doubles included."""
        rows = self.query(
            "SELECT sensor_id, epoch, seq, metric, unit, time_unix_ns, value FROM readings"
            " WHERE sensor_id = @sensor",
            [bigquery.ScalarQueryParameter("sensor", "STRING", sensor_id)],
        )
        return [Reading(*row) for row in rows]

    def windows(self, sensors: Iterable[str], until_unix_ns: int) -> dict[WindowKey, dict[str, Any]]:
        """Return the highest revision of every window of `sensors` that ends by `until_unix_ns`."""
        values = ", ".join(f"`{column}`" for column in WINDOW_COLUMNS)
        rows = self.query(
            "SELECT sensor_id, metric, unit, size_ms, UNIX_MICROS(window_start) * 1000,"
            f" {values} FROM windows_latest"
            " WHERE sensor_id IN UNNEST(@sensors) AND UNIX_MICROS(window_end) * 1000 <= @until",
            [
                bigquery.ArrayQueryParameter("sensors", "STRING", list(sensors)),
                bigquery.ScalarQueryParameter("until", "INT64", until_unix_ns),
            ],
        )
        return {row[:5]: dict(zip(WINDOW_COLUMNS, row[5:], strict=True)) for row in rows}
