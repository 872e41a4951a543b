"""Commands that show the fleet: `hosts`, `sinks`, `audit`, `status`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from gaugeway.cli.options import ApiUrl, DataDir, Json, TokenFile, connect
from gaugeway.cli.output import print_json, print_table

hosts = typer.Typer(help="Hypervisor hosts.", no_args_is_help=True)
sinks = typer.Typer(help="Where rows are delivered to.", no_args_is_help=True)


def _show(
    path: str,
    show: Callable[[dict[str, Any]], None],
    as_json: bool,
    where: tuple[str | None, Path | None, Path | None],
) -> None:
    document = connect(*where).get(path)
    (print_json if as_json else show)(document)


@hosts.command(name="list")
def list_hosts(
    as_json: Json = False, api_url: ApiUrl = None, token_file: TokenFile = None, data_dir: DataDir = None
) -> None:
    """List hypervisor hosts."""

    def show(document: dict[str, Any]) -> None:
        print_table(
            ["HOST", "KIND", "STATUS", "#VMS", "#SENSORS", "URL", "MESSAGE"],
            (
                [row[name] for name in ("id", "kind", "status", "vms", "sensors", "url", "message")]
                for row in document["hosts"]
            ),
            "There are no hosts.",
        )

    _show("/v1/hosts", show, as_json, (api_url, token_file, data_dir))


@sinks.command(name="list")
def list_sinks(
    as_json: Json = False, api_url: ApiUrl = None, token_file: TokenFile = None, data_dir: DataDir = None
) -> None:
    """List sinks: what each delivered, and how far behind it is."""
    _show("/v1/sinks", _print_sinks, as_json, (api_url, token_file, data_dir))


def _print_sinks(document: dict[str, Any]) -> None:
    names = (
        "sink",
        "state",
        "rows_delivered",
        "lag_rows",
        "lag_s",
        "dead_letters",
        "retention_gaps",
        "message",
    )
    print_table(
        ["SINK", "STATE", "#ROWS", "#LAG ROWS", "#LAG S", "#DEAD LETTERS", "#RETENTION GAPS", "MESSAGE"],
        ([row[name] for name in names] for row in document["sinks"]),
        "No sink runs.",
    )


def audit(
    as_json: Json = False, api_url: ApiUrl = None, token_file: TokenFile = None, data_dir: DataDir = None
) -> None:
    """Account for every reading of every sensor.

    received = aggregated + duplicate + quarantined + too_late + excluded
    """
    names = (
        *("sensor_id", "received", "aggregated", "duplicate", "quarantined", "too_late", "excluded"),
        *("undecodable_frames", "gaps", "gap_readings"),
    )

    def show(document: dict[str, Any]) -> None:
        print_table(
            ["SENSOR", *(f"#{name.replace('_', ' ').upper()}" for name in names[1:])],
            ([row[name] for name in names] for row in document["sensors"]),
            "No reading has arrived yet.",
        )

    _show("/v1/audit", show, as_json, (api_url, token_file, data_dir))


def status(
    as_json: Json = False, api_url: ApiUrl = None, token_file: TokenFile = None, data_dir: DataDir = None
) -> None:
    """Show the installation at a glance."""
    _show("/v1/status", _print_status, as_json, (api_url, token_file, data_dir))


def _print_status(document: dict[str, Any]) -> None:
    counts = dict(document["sensors"])
    total = counts.pop("total", 0)
    by_status = ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"
    typer.echo(f"Gaugeway {document['version']}, {document['shards']} shards")
    typer.echo(f"{total} sensors ({by_status}), {document['readings_per_s']:.1f} readings/s\n")
    print_table(
        ["NODE", "ROLE", "STATUS", "MESSAGE"],
        ([row[name] for name in ("id", "role", "status", "message")] for row in document["nodes"]),
        "No node is connected.",
    )
    typer.echo()
    _print_sinks(document)
    typer.echo()
    print_table(["", "URL"], sorted(document["urls"].items()), "")
