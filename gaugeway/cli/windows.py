"""`gaugeway windows`: windows of the past, to read and to look at."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from gaugeway.cli.options import ApiUrl, DataDir, Json, TokenFile, connect, duration
from gaugeway.cli.output import gauge, print_json, print_table, sparkline


def windows(
    sensor_id: Annotated[str, typer.Argument(metavar="SENSOR")],
    metric: Annotated[str, typer.Argument(metavar="METRIC")],
    *,
    size: Annotated[str, typer.Option(help="10s or 60s.", callback=duration, metavar="DURATION")] = "10s",
    since: Annotated[str, typer.Option(help="How long ago, as in 10m, or a time (RFC 3339).")] = "10m",
    until: Annotated[str | None, typer.Option(help="Windows that begin before this; else all.")] = None,
    limit: Annotated[int, typer.Option(help="The newest so many.", min=1)] = 60,
    as_json: Json = False,
    api_url: ApiUrl = None,
    token_file: TokenFile = None,
    data_dir: DataDir = None,
) -> None:
    """Show windows of one metric of a sensor, newest last, each with its highest revision."""
    query = {"metric": metric, "size": size, "since": since, "until": until, "limit": limit}
    api = connect(api_url, token_file, data_dir)
    document = api.get(f"/v1/sensors/{quote(sensor_id, safe='')}/windows", query)
    if as_json:
        print_json(document)
    else:
        _print(document["windows"], f"{sensor_id} has no {size} window of {metric} since {since} yet.")


def _print(rows: list[dict[str, Any]], empty: str) -> None:
    means = [row["mean"] for row in rows if row["mean"] is not None]
    low, high = (min(means), max(means)) if means else (0.0, 0.0)
    if means:
        line = sparkline(means)
        typer.echo(f"{rows[0]['metric']} in {rows[0]['unit']}, means {low:.6g} to {high:.6g}\n{line}\n")
    names = ("min", "mean", "max", "stddev", "p50", "p95", "p99")
    print_table(
        ["BEGINS", "#COUNT", *(f"#{name.upper()}" for name in names), "#REV", "MEAN, LOWEST TO HIGHEST"],
        (
            [
                _local(row["window_start"]),
                row["count"],
                *(row[name] for name in names),
                row["revision"],
                "" if row["mean"] is None else gauge(row["mean"], low, high),
            ]
            for row in rows
        ),
        empty,
    )


def _local(time: str) -> str:
    """Return an RFC 3339 time in this machine's time zone."""
    return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M:%S}"
