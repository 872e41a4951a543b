"""Ending tasks for certain.

A task that was cancelled once may go on for ever: nats-py's publish and flush
catch the cancellation and return, and before Python 3.12 `asyncio.wait_for`
drops one that comes together with its result
(https://github.com/python/cpython/issues/86296).
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

AGAIN_S: Final = 1.0


async def end(*tasks: asyncio.Task[Any], again_s: float = AGAIN_S) -> None:
    """Cancel tasks until they are done; a task gets `again_s` for its own end before it is cancelled again.

    Returns when all are done, however they ended; their errors are for whoever looks at them.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=again_s)
