"""Ending tasks for certain.

A task that was cancelled once may go on for ever: nats-py's publish and flush
catch the cancellation and return, and before Python 3.12 `asyncio.wait_for`
drops one that comes together with its result
(https://github.com/python/cpython/issues/86296). The data path, which this
package may not import, has the same in ext_proc.ending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

AGAIN_S: Final = 1.0


async def end(tasks: Iterable[asyncio.Task[Any]], again_s: float = AGAIN_S) -> None:
    """Cancel tasks until they are done; each has `again_s` for its own end before it is cancelled again.

    Errors are for whoever looks at the tasks.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=again_s)
