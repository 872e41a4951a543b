"""`gaugeway sensors`: add, list, show, remove."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from gaugeway.cli.client import ApiClient
from gaugeway.cli.errors import CliError, ExitCode
from gaugeway.cli.nodes import RESOURCE_COLUMNS, resource_row
from gaugeway.cli.options import ApiUrl, DataDir, Json, TokenFile, connect, duration
from gaugeway.cli.output import print_json, print_table
from gaugeway.durations import parse_duration_ms

app = typer.Typer(help="Add, list, show and remove sensors.", no_args_is_help=True)

_POLL_S: Final = 0.02
_RESULT: Final = "Result"
_SOURCE: Final = "Where readings come from"


class Recording(StrEnum):
    """Recordings that ship with the agent."""

    machine_temperature = "machine_temperature"
    ambient_temperature = "ambient_temperature"


SensorId = Annotated[str, typer.Argument(metavar="ID", help="A DNS label: a-z, 0-9 and '-', at most 63.")]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait until it is done.", rich_help_panel=_RESULT)
]
Timeout = Annotated[
    str,
    typer.Option(help="How long to wait.", callback=duration, metavar="DURATION", rich_help_panel=_RESULT),
]


@app.command()
def add(
    sensor_id: SensorId,
    *,
    site: Annotated[str, typer.Option(help="Where it stands, a DNS label.")] = "default",
    host: Annotated[str, typer.Option(help="The hypervisor host of its VM.")] = "lab",
    replay: Annotated[
        Recording | None, typer.Option(help="Replay a recorded industrial sensor.", rich_help_panel=_SOURCE)
    ] = None,
    speed: Annotated[
        float, typer.Option(help="How many times faster than recorded.", rich_help_panel=_SOURCE)
    ] = 300.0,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="A quantity of this machine; may be repeated.  [default: all that it has]",
            rich_help_panel=_SOURCE,
        ),
    ] = None,
    interval: Annotated[
        str,
        typer.Option(
            help="How often they are read.", callback=duration, metavar="DURATION", rich_help_panel=_SOURCE
        ),
    ] = "1s",
    flush: Annotated[
        str,
        typer.Option(help="How long readings gather into a frame.", callback=duration, metavar="DURATION"),
    ] = "200ms",
    wait: Wait = True,
    timeout: Timeout = "30s",
    as_json: Json = False,
    api_url: ApiUrl = None,
    token_file: TokenFile = None,
    data_dir: DataDir = None,
) -> None:
    """Add a sensor: its VM is made, its stream opened, its readings flow.

    Without --replay it measures this machine.
    """
    if replay is not None and metric:
        raise typer.BadParameter("--metric is for sensors of this machine, not for --replay")
    source, metrics = (
        _replay(replay, speed) if replay is not None else _machine(metric or [], parse_duration_ms(interval))
    )
    body = {
        "id": sensor_id,
        "host": host,
        "site": site,
        "metrics": metrics,
        "source": source,
        "flush_ms": parse_duration_ms(flush),
    }
    api = connect(api_url, token_file, data_dir)
    sensor = api.post("/v1/sensors", body, idempotency_key=str(uuid.uuid4()))
    if wait:
        with _progress(f"{sensor_id}: added", as_json) as say:
            sensor = _until_live(api, sensor, parse_duration_ms(timeout) / 1000, say)
    if as_json:
        print_json(sensor)
    else:
        typer.echo(f"{sensor_id} is {sensor['status']}: {sensor['message']}")


@app.command(name="list")
def list_sensors(
    as_json: Json = False, api_url: ApiUrl = None, token_file: TokenFile = None, data_dir: DataDir = None
) -> None:
    """List every sensor."""
    document = connect(api_url, token_file, data_dir).get("/v1/sensors")
    if as_json:
        print_json(document)
        return
    print_table(
        ["SENSOR", "SITE", "HOST", "METRICS", "STATUS", "#READINGS/S", "MESSAGE"],
        (
            [
                sensor["id"],
                sensor["site"],
                sensor["host"],
                ", ".join(each["name"] for each in sensor["metrics"]),
                sensor["status"],
                (sensor["stream"] or {}).get("readings_per_s"),
                sensor["message"],
            ]
            for sensor in document["sensors"]
        ),
        "There are no sensors: add one with `gaugeway sensors add ID`.",
    )


@app.command()
def show(
    sensor_id: SensorId,
    as_json: Json = False,
    api_url: ApiUrl = None,
    token_file: TokenFile = None,
    data_dir: DataDir = None,
) -> None:
    """Show one sensor: what was asked for, how far the fleet is with it, what carries it."""
    sensor = connect(api_url, token_file, data_dir).get(_path(sensor_id))
    if as_json:
        print_json(sensor)
    else:
        _print_sensor(sensor)


@app.command()
def remove(
    sensor_id: SensorId,
    *,
    wait: Wait = True,
    timeout: Timeout = "30s",
    as_json: Json = False,
    api_url: ApiUrl = None,
    token_file: TokenFile = None,
    data_dir: DataDir = None,
) -> None:
    """Remove a sensor: its stream ends, its VM and spool go; rows that were delivered stay."""
    api = connect(api_url, token_file, data_dir)
    sensor = api.delete(_path(sensor_id))
    if wait:
        with _progress(f"{sensor_id}: removing", as_json) as say:
            _until_gone(api, sensor_id, parse_duration_ms(timeout) / 1000, say)
    if as_json:
        print_json({"id": sensor_id, "status": "removed" if wait else sensor["status"]})
    else:
        typer.echo(f"{sensor_id} is removed" if wait else f"{sensor_id} is {sensor['status']}")


def _path(sensor_id: str) -> str:
    from urllib.parse import quote  # noqa: PLC0415 - beside its only use

    return f"/v1/sensors/{quote(sensor_id, safe='')}"


def _replay(recording: Recording, speed: float) -> tuple[dict[str, Any], list[dict[str, str]]]:
    from hyperv.recordings import UNIT  # noqa: PLC0415

    source = {"kind": "replay", "recording": recording.value, "speed": speed}
    return source, [{"name": "temperature", "unit": UNIT}]


def _machine(names: list[str], interval_ms: int) -> tuple[dict[str, Any], list[dict[str, str]]]:
    from hyperv.guest.machine import UNITS, available  # noqa: PLC0415 - loads psutil

    unknown = [name for name in names if name not in UNITS]
    if unknown:
        raise typer.BadParameter(f"--metric must be among {', '.join(UNITS)}; not {', '.join(unknown)}")
    metrics = [{"name": name, "unit": UNITS[name]} for name in names or available()]
    return {"kind": "machine", "interval_ms": interval_ms}, metrics


def _until_live(
    api: ApiClient, sensor: dict[str, Any], timeout_s: float, say: Callable[[str], None]
) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    while sensor["status"] != "live":
        if time.monotonic() > deadline:
            raise CliError(
                ExitCode.FAILED,
                f"{sensor['id']} was added, but is not live after {timeout_s:g} s: "
                f"{sensor['status']}, {sensor['message']}",
                f"see `gaugeway sensors show {sensor['id']}` and `gaugeway status`",
            )
        say(f"{sensor['id']}: {sensor['message'] or sensor['status']}")
        time.sleep(_POLL_S)
        sensor = api.get(_path(sensor["id"]))
    return sensor


def _until_gone(api: ApiClient, sensor_id: str, timeout_s: float, say: Callable[[str], None]) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            sensor = api.get(_path(sensor_id))
        except CliError as error:
            if error.code == ExitCode.NOT_FOUND:
                return
            raise
        if time.monotonic() > deadline:
            raise CliError(
                ExitCode.FAILED,
                f"{sensor_id} is still being removed after {timeout_s:g} s: {sensor['message']}",
            )
        say(f"{sensor_id}: {sensor['message'] or sensor['status']}")
        time.sleep(_POLL_S)


def _progress(first: str, as_json: bool) -> AbstractContextManager[Callable[[str], None]]:
    """Show a moving line on a terminal's stderr, nothing elsewhere."""
    import sys  # noqa: PLC0415

    if as_json or not sys.stderr.isatty():
        return nullcontext(lambda _: None)
    from gaugeway.cli.progress import Line  # noqa: PLC0415 - loads rich

    return Line(first)


def _print_sensor(sensor: dict[str, Any]) -> None:
    carriers = sensor.pop("carried_by", [])
    print_table(["FIELD", "VALUE"], _fields(sensor), "")
    typer.echo()
    print_table(
        ["CARRIED BY", "ROLE", "AS A WHOLE", *RESOURCE_COLUMNS],
        _carrier_rows(carriers),
        "Nothing carries it yet.",
    )


def _carrier_rows(carriers: list[dict[str, Any]]) -> Iterator[list[object]]:
    """Yield a row a resource; the node stands in the first of its rows."""
    for carrier in carriers:
        node: list[object] = [carrier["id"], carrier["role"], carrier["state"]]
        for resource in carrier["resources"]:
            yield [*node, *resource_row(resource)]
            node = [""] * len(node)


def _fields(sensor: dict[str, Any]) -> list[tuple[str, object]]:
    """Return the fields of a sensor, inner ones under dotted names."""
    rows: list[tuple[str, object]] = []
    for name, value in sensor.items():
        if name == "metrics":
            rows.append((name, ", ".join(f"{each['name']} in {each['unit']}" for each in value)))
        elif isinstance(value, dict):
            rows += [(f"{name}.{inner}", _cell(each)) for inner, each in value.items()]
        else:
            rows.append((name, value))
    return rows


def _cell(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list) else value
