"""`gaugeway up`: the whole product on this machine, in the foreground."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from gaugeway.cli.errors import CliError, ExitCode
from gaugeway.cli.location import DATA_DIR

_PORTS = "Ports (0: any free one)"
Port = Annotated[int, typer.Option(min=0, max=65_535, rich_help_panel=_PORTS)]


def up(
    *,
    data_dir: Annotated[
        Path, typer.Option(help="Where it keeps everything; made if it is missing.")
    ] = DATA_DIR,
    demo: Annotated[bool, typer.Option("--demo/--no-demo", help="Add the demo fleet.")] = True,
    sensors: Annotated[int, typer.Option(min=1, max=1000, help="Size of the demo fleet.")] = 6,
    config: Annotated[
        Path | None,
        typer.Option(help="gaugeway.toml.  [default: ./gaugeway.toml, else the data directory's, if there]"),
    ] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="Gets a JSON object once everything is live: addresses, pids.")
    ] = None,
    api_host: Annotated[str, typer.Option(help="Address of API and console.")] = "127.0.0.1",
    api_port: Port = 8480,
    xds_port: Port = 18000,
    envoy_admin_port: Port = 9901,
    gateway_port: Port = 10000,
    nats_port: Port = 4222,
) -> None:
    """Run everything on this machine until Ctrl-C: NATS, control plane, Envoy, worker, sinks, the lab.

    A second run on the same data directory goes on where the first stopped.
    """
    # What follows loads much that no other command needs.
    from gaugeway.cli.session import Demo, run_session  # noqa: PLC0415
    from gaugeway.settings import SettingsError, find_settings, load_settings  # noqa: PLC0415
    from gaugeway.supervisor.errors import (  # noqa: PLC0415
        AlreadyRunningError,
        PortTakenError,
        SupervisorError,
    )
    from gaugeway.supervisor.installation import Installation, Ports  # noqa: PLC0415
    from gaugeway.supervisor.layout import Layout  # noqa: PLC0415
    from gaugeway.supervisor.lock import data_dir_lock  # noqa: PLC0415

    ports = Ports(api_port, xds_port, envoy_admin_port, gateway_port, nats_port)
    folder = data_dir.absolute()
    try:
        settings = load_settings(find_settings(config, folder))
        installation = Installation(Layout(folder), settings, ports, api_host)
        with data_dir_lock(folder, installation.layout.run) as lock:
            installation.check_ports()
            asyncio.run(run_session(installation, lock, Demo(sensors if demo else 0), ready_file))
    except SettingsError as error:
        raise CliError(ExitCode.USAGE, str(error)) from error
    except PortTakenError as error:
        raise CliError(ExitCode.PORT_TAKEN, str(error)) from error
    except AlreadyRunningError as error:
        raise CliError(ExitCode.ALREADY_RUNNING, str(error)) from error
    except (SupervisorError, OSError) as error:
        raise CliError(ExitCode.FAILED, str(error)) from error
