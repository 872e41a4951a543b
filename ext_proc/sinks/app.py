"""The sink process: one target, all shards."""

from __future__ import annotations

from collections.abc import Callable

from ext_proc.journal.connection import nats_client
from ext_proc.sinks.bigquery.config import BigQueryTarget
from ext_proc.sinks.config import AnyTarget, SinkConfig
from ext_proc.sinks.driver import Driver
from ext_proc.sinks.model import Target
from ext_proc.sinks.powerbi.config import PowerBiTarget


async def serve(config: SinkConfig, ready: Callable[[dict[str, object]], None]) -> None:
    """Run a sink until cancelled, then end in order: the delivery under way, the cursors.

    Args:
        config: What it must know.
        ready: Called once, when NATS answers; what the target says goes into the status.
    """
    async with nats_client(config.nats_url, f"sink-{config.name}") as client:
        driver = Driver(client, config.name, config.shards, _target(config.target))
        ready({"sink": config.name})
        await driver.run()


def _target(config: AnyTarget) -> Target:
    """Return the target; only its own libraries are imported."""
    match config:
        case BigQueryTarget():
            from ext_proc.sinks.bigquery.target import BigQuerySink  # noqa: PLC0415

            return BigQuerySink(config)
        case PowerBiTarget():
            from ext_proc.sinks.powerbi.target import PowerBiSink  # noqa: PLC0415

            return PowerBiSink(config)
        case _:
            from ext_proc.sinks.warehouse.target import WarehouseSink  # noqa: PLC0415

            return WarehouseSink(config)
