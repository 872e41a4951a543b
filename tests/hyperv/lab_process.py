"""`python -m tests.hyperv.lab_process CONFIG`: a lab host, its URL as one JSON line on stdout."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys

import structlog

from hyperv.lab.app import LabHostConfig, serve


def _ready(info: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(info) + "\n")
    sys.stdout.flush()


async def _main() -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serve(LabHostConfig.model_validate_json(sys.argv[1]), _ready)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(_main())
