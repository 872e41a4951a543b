"""The long-running processes: `python -m gaugeway run ROLE --config FILE [--ready-file FILE]`.

Each ends in order on SIGTERM or SIGINT. One that does not within END_TIMEOUT_S
ends all the same, with its threads' tracebacks in the log: whoever waits for
it must not wait for ever.

Exit codes: 0 ended in order, 1 crashed, 2 the configuration is no good.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import structlog
from pydantic import BaseModel, ValidationError

from gaugeway.files import write_json
from gaugeway.logs import configure_logging

END_TIMEOUT_S: Final = 8.0  # before the supervisor kills it: its log then says where it hung
STDIN: Final = "-"

Ready = Callable[[dict[str, object]], None]
Serve = Callable[[Any, Ready], Awaitable[None]]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Role:
    """Where a role's code is; imported only in the process that plays it."""

    serve: str  # module:function
    config: str  # module:class

    def load(self) -> tuple[Serve, type[BaseModel]]:
        """Import the role's code."""
        return _named(self.serve), _named(self.config)


ROLES: Final = {
    "control-plane": Role("gaugeway.control_plane_role:serve", "gaugeway.control_plane_role:RoleConfig"),
    "worker": Role("ext_proc.worker.app:serve", "ext_proc.worker.config:WorkerConfig"),
    "sink": Role("ext_proc.sinks.app:serve", "ext_proc.sinks.config:SinkConfig"),
    "lab-host": Role("hyperv.lab.app:serve", "hyperv.lab.app:LabHostConfig"),
}


def main(arguments: Sequence[str]) -> int:
    """Run one role until it is told to end; returns the exit code."""
    parser = argparse.ArgumentParser(prog="gaugeway run", description=__doc__)
    parser.add_argument("role", choices=ROLES)
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE",
        help=f"JSON; {STDIN} reads stdin, once all is loaded",
    )
    parser.add_argument("--ready-file", type=Path, metavar="FILE", help="written once it serves, JSON")
    options = parser.parse_args(arguments)
    configure_logging(options.role)
    return run_role(ROLES[options.role], options.config, options.ready_file)


def run_role(role: Role, config_file: str, ready_file: Path | None) -> int:
    """Load, configure and serve; returns the exit code."""
    serve, config_type = role.load()
    try:
        text = sys.stdin.read() if config_file == STDIN else Path(config_file).read_text()
        config = config_type.model_validate_json(text)
    except (OSError, ValidationError) as error:
        log.error("bad_configuration", file=config_file, reason=str(error))  # noqa: TRY400 - no traceback
        return 2

    def ready(info: dict[str, object]) -> None:
        log.info("ready", **info)
        if ready_file is not None:
            write_json(ready_file, {"pid": os.getpid(), **info})

    return asyncio.run(_serve(serve(config, ready)))


async def _serve(serving: Awaitable[None]) -> int:
    task = asyncio.ensure_future(serving)
    stopping = False

    def stop(number: signal.Signals) -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            log.info("ending", signal=number.name)
            faulthandler.dump_traceback_later(END_TIMEOUT_S, exit=True)
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    try:
        await task
    except asyncio.CancelledError:
        log.info("ended")
        return 0 if stopping else 1
    except Exception:  # the process's last resort: said in the log, and in the exit code
        log.exception("crashed")
        return 1
    if not stopping:
        log.error("ended_by_itself")
    return 0 if stopping else 1


def _named(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
