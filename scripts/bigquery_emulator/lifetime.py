"""What an emulator's process and the tests that started it tell each other."""

from __future__ import annotations

import asyncio
import json
import os
import sys

HOST = "127.0.0.1"

# Only the ports go to standard output; what the emulator prints goes to standard error.
_to_parent = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def say_ports(rest: int, grpc: int) -> None:
    """Tell the parent where the services are: one JSON object on standard output."""
    print(
        json.dumps({"rest": f"http://{HOST}:{rest}", "grpc": f"{HOST}:{grpc}"}), file=_to_parent, flush=True
    )


async def wait_for_parent() -> None:
    """Return when standard input ends: the process cannot outlive the tests."""
    await asyncio.to_thread(sys.stdin.buffer.read)
