"""What agents produced, and what arrived, in the same shape."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ext_proc.sinks.warehouse.query import connect_views
from tests.e2e.oracle import Reading, WindowKey, differences, windows_of
from tests.support.stack import Stack

SIZES_MS = (10_000, 60_000)
ReadingKey = tuple[str, str, int]
"""(sensor, epoch, seq)."""


def spooled(stack: Stack, sensor_id: str) -> list[Reading]:
    """Return every reading that the sensor's agent holds, running or not."""
    spool = next(stack.data_dir.rglob(f"vms/{sensor_id}/spool"))
    dump = subprocess.run(
        [sys.executable, "-m", "hyperv.guest", "dump", "--spool", spool], check=True, capture_output=True
    )
    rows = [json.loads(line) for line in dump.stdout.splitlines()]
    return [
        Reading(
            sensor_id, row["epoch"], row["seq"], row["metric"], row["unit"], row["time_unix_ns"], row["value"]
        )
        for row in rows
    ]


class Warehouse:
    """The local warehouse's rows."""

    def __init__(self, stack: Stack) -> None:
        self.directory = Path(stack.info["warehouse_dir"])

    def query(self, sql: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
        """Run `sql` over the warehouse's views."""
        with connect_views(self.directory) as connection:
            rows: list[tuple[Any, ...]] = connection.execute(sql, parameters).fetchall()
        return rows

    def readings(self, sensor_id: str) -> list[Reading]:
        """Return every row of the sensor, doubles included."""
        rows = self.query(
            "SELECT sensor_id, epoch, seq, metric, unit, epoch_ns(time), value FROM readings"
            " WHERE sensor_id = ?",
            [sensor_id],
        )
        return [Reading(*row) for row in rows]

    def windows(self, sensors: Iterable[str], until_unix_ns: int) -> dict[WindowKey, dict[str, Any]]:
        """Return the highest revision of every window of `sensors` that ends by `until_unix_ns`."""
        columns = ["count", "min", "max", "sum", "mean", "stddev", "first", "last", "p50", "p95", "p99"]
        quoted = ", ".join(f'"{column}"' for column in columns)
        rows = self.query(
            f"SELECT sensor_id, metric, unit, size_ms, epoch_ns(window_start), {quoted} FROM windows_latest"
            " WHERE list_contains(?, sensor_id) AND epoch_ns(window_end) <= ?",
            [list(sensors), until_unix_ns],
        )
        return {row[:5]: dict(zip(columns, row[5:], strict=True)) for row in rows}


def window_problems(
    produced: Mapping[str, list[Reading]],
    rows: Mapping[WindowKey, Mapping[str, Any]],
    until_unix_ns: int,
    sizes_ms: Iterable[int] = SIZES_MS,
) -> list[str]:
    """Compare `rows` of some sizes with the oracle's windows over `produced`; return what is wrong."""
    problems: list[str] = []
    for size_ms in sizes_ms:
        readings = [reading for sensor in produced.values() for reading in sensor]
        expected = windows_of(readings, size_ms, until_unix_ns)
        problems += differences(expected, {key: row for key, row in rows.items() if key[3] == size_ms})
    return problems


def reading_problems(produced: list[Reading], arrived: list[Reading], until_unix_ns: int) -> list[str]:
    """Compare readings up to an event time by key and value: none missing, none twice, none changed."""
    wanted = {(r.epoch, r.seq): r for r in produced if r.time_unix_ns < until_unix_ns}
    got = [r for r in arrived if r.time_unix_ns < until_unix_ns]
    by_key = {(r.epoch, r.seq): r for r in got}
    problems = [f"{len(got) - len(by_key)} readings arrived twice"] if len(got) != len(by_key) else []
    problems += [f"reading {key} was lost" for key in sorted(wanted.keys() - by_key.keys())[:20]]
    problems += [f"reading {key} was never produced" for key in sorted(by_key.keys() - wanted.keys())[:20]]
    problems += [
        f"reading {key} arrived as {by_key[key]}, produced as {wanted[key]}"
        for key in sorted(wanted.keys() & by_key.keys())
        if wanted[key] != by_key[key]
    ]
    return problems


def audit_problems(stack: Stack) -> list[str]:
    """Check the accounting identity of every sensor; return what is wrong."""
    sensors = stack.api("GET", "/v1/audit")["sensors"]
    fates = ("aggregated", "duplicate", "quarantined", "too_late", "excluded")
    return [
        f"{row['sensor_id']}: received {row['received']} is not the sum of {[row[fate] for fate in fates]}"
        for row in sensors
        if row["received"] != sum(row[fate] for fate in fates)
    ]
