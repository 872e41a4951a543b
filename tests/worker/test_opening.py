"""A bounded number of streams is opened at once: a worker that is behind is not asked for more."""

from __future__ import annotations

import asyncio

import pytest

from ext_proc.follower import opening
from ext_proc.follower.opening import Opening
from tests.journal.support import wait_for


async def opened(places: asyncio.Semaphore, made: list[Opening], end: asyncio.Event) -> None:
    """Hold a stream whose opening is in `made` until `end`."""
    async with Opening(places) as mine:
        made.append(mine)
        await end.wait()


async def test_an_opening_waits_for_one_that_is_done() -> None:
    """Two at once, whatever comes; the place is free when ext_proc has shown the stream, and only once."""
    places, made, end = asyncio.Semaphore(2), list[Opening](), asyncio.Event()
    streams = [asyncio.create_task(opened(places, made, end)) for _ in range(4)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(made) == 2
    made[0].done()
    made[0].done()
    await wait_for("one more is opened", lambda: len(made) == 3)
    await asyncio.sleep(0)
    assert len(made) == 3
    end.set()
    await asyncio.gather(*streams)
    assert len(made) == 4
    assert [await places.acquire() for _ in range(2)] == [True, True]
    assert places.locked()


async def test_a_vm_that_does_not_answer_gives_its_place_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while the next may be opened although the first was never shown."""
    monkeypatch.setattr(opening, "OPENING_S", 0.01)
    places, made, end = asyncio.Semaphore(1), list[Opening](), asyncio.Event()
    streams = [asyncio.create_task(opened(places, made, end)) for _ in range(2)]
    await wait_for("the second is opened", lambda: len(made) == 2)
    end.set()
    await asyncio.gather(*streams)
