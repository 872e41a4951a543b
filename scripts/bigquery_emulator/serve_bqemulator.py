"""Serve BigQuery for tests with bqemulator; run by the interpreter that make.py prepared.

python serve_bqemulator.py
"""

from __future__ import annotations

import asyncio

from lifetime import say_ports, wait_for_parent  # first: it takes standard output

# isort: split
from bqemulator.config import Settings
from bqemulator.server import EmulatorServer


async def serve() -> None:
    """Serve on ports that the system chooses, tables in memory."""
    server = EmulatorServer(Settings(rest_port=0, grpc_port=0, log_level="error"))
    await server.start()
    say_ports(server.rest_port, server.grpc_port)
    await wait_for_parent()
    await server.stop()


if __name__ == "__main__":
    asyncio.run(serve())
