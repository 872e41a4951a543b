"""What an emulator's process and the tests that started it tell each other."""

from __future__ import annotations

import asyncio
import json
import sys

HOST = "127.0.0.1"


def say_ports(rest: int, grpc: int) -> None:
    """Tell the parent where the services are: one JSON object on standard output."""
    print(json.dumps({"rest": f"http://{HOST}:{rest}", "grpc": f"{HOST}:{grpc}"}), flush=True)  # noqa: T201


async def wait_for_parent() -> None:
    """Return when standard input ends: the process cannot outlive the tests."""
    await asyncio.to_thread(sys.stdin.buffer.read)
