"""Tasks end although something on their way swallows a cancellation."""

from __future__ import annotations

import asyncio

from ext_proc.ending import end


async def stubborn(swallowed: int) -> int:
    """Go on after the first `swallowed` cancellations."""
    for _ in range(swallowed):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue
    await asyncio.Event().wait()
    return swallowed


async def test_tasks_are_cancelled_until_they_end() -> None:
    """One that takes the first word, one that takes the third, one that is done, one that failed."""

    async def fail() -> None:
        raise ValueError("of its own")

    tasks = [asyncio.create_task(stubborn(times)) for times in (0, 2)]
    failed = asyncio.create_task(fail())
    await asyncio.wait({failed})
    await asyncio.wait_for(end(*tasks, failed, again_s=0.01), 5)
    assert all(task.cancelled() for task in tasks)
    assert isinstance(failed.exception(), ValueError)
    await end()
