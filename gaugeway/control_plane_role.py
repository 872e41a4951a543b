"""The role `control-plane`: the control plane with the history that this machine has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from control_plane import app
from control_plane.config import ControlPlaneConfig
from gaugeway.history import WarehouseHistory


class RoleConfig(ControlPlaneConfig):
    """A control plane beside a warehouse.

    Attributes:
        warehouse_dir: The local warehouse's folder; None: this installation keeps no history.
    """

    warehouse_dir: Path | None = None


async def serve(config: RoleConfig, ready: Callable[[dict[str, object]], None]) -> None:
    """Run a control plane until cancelled."""
    history = None if config.warehouse_dir is None else WarehouseHistory(config.warehouse_dir)
    await app.serve(config, ready, history)
