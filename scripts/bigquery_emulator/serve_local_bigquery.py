"""Serve BigQuery for tests with local-bigquery; run by the interpreter that make.py prepared.

python serve_local_bigquery.py DATA_DIR
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import uvicorn
from lifetime import HOST, say_ports, wait_for_parent
from local_bigquery import app
from local_bigquery.engine import database
from local_bigquery.grpc import server as storage
from local_bigquery.settings import settings


async def serve(data_dir: Path) -> None:
    """Serve on ports that the system chooses, tables below `data_dir`."""
    settings.data_dir = data_dir
    database.connection()  # the first requests would race to make it
    grpc_server, grpc_port = storage.start(HOST, 0)
    listener = socket.create_server((HOST, 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    say_ports(listener.getsockname()[1], grpc_port)
    await wait_for_parent()
    server.should_exit = True
    await serving
    grpc_server.stop(None)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
