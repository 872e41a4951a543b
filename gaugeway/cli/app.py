"""`gaugeway`: its commands, and how each ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated

import typer

from gaugeway.cli import fleet, nodes, rules, sensors, windows
from gaugeway.cli.errors import CliError, ExitCode
from gaugeway.cli.options import Json
from gaugeway.cli.output import print_json
from gaugeway.cli.up import up

_EPILOG = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 not found, 4 refused by the API, "
    "5 the API cannot be reached, 6 a port is taken, 7 already running."
)

app = typer.Typer(
    help="Industrial sensor fleets, streamed through Envoy into live windows, BigQuery and Power BI.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(up)
app.add_typer(sensors.app, name="sensors")
app.add_typer(rules.app, name="rules")
app.add_typer(fleet.hosts, name="hosts")
app.add_typer(nodes.app, name="nodes")
app.add_typer(fleet.sinks, name="sinks")
app.command()(windows.windows)
app.command()(rules.events)
app.command()(fleet.audit)
app.command()(fleet.status)


@app.command()
def version(as_json: Json = False) -> None:
    """Print the version."""
    number = installed_version("gaugeway")
    if as_json:
        print_json({"version": number})
    else:
        typer.echo(number)


@app.command()
def run(
    role: Annotated[str, typer.Argument(help="control-plane, worker, sink or lab-host.")],
    config: Annotated[str, typer.Option(help="JSON; - reads stdin.")],
    ready_file: Annotated[Path | None, typer.Option(help="Written once it serves.")] = None,
) -> int:
    """Run one process of an installation (what `up` starts, for other supervisors)."""
    from gaugeway.roles import main  # noqa: PLC0415 - loads a role's libraries

    ready = [] if ready_file is None else ["--ready-file", str(ready_file)]
    return main([role, "--config", config, *ready])


def run_command_line(arguments: Sequence[str]) -> int:
    """Run a command; returns its exit code. Errors are a sentence on stderr."""
    try:
        code = app(args=list(arguments), prog_name="gaugeway", standalone_mode=True)
    except CliError as error:
        sys.stderr.write(f"gaugeway: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"  {error.hint}\n")
        return error.code
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else ExitCode.FAILED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has seen enough
        return ExitCode.OK
    return code if isinstance(code, int) else ExitCode.OK
