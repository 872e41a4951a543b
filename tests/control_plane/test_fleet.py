"""The fleet as the API sees it, of a simulated world."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from unittest.mock import Mock

from control_plane.changes import Changes
from control_plane.fleet import AT_A_TIME, Fleet
from control_plane.observe.board import StatusBoard
from control_plane.observe.failures import LastFailures
from tests.control_plane.sim import Sim


def fleet_of(sim: Sim, changes: Changes) -> Fleet:
    """Return the fleet of a simulated world; what needs NATS is left out."""
    feed: Any = None
    client, desired = cast("Any", Mock(is_connected=True)), cast("Any", sim)
    return Fleet(
        desired=desired,
        engine=sim.engine,
        cache=sim.cache,
        board=StatusBoard(),
        failures=LastFailures(lambda _: True),
        changes=changes,
        shards=sim.shards,
        feed=feed,
        client=client,
    )


async def test_others_have_their_turn_while_a_large_fleet_is_looked_at() -> None:
    """Nodes are answered meanwhile; whoever else asks is given the same views."""
    sim = Sim([])
    for number in range(5 * AT_A_TIME):
        sim.add(f"press-{number}")
    sim.step()
    fleet, turns = fleet_of(sim, Changes()), 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    one, other = await asyncio.gather(fleet.sensors(), fleet.sensors())
    counting.cancel()
    assert turns >= 4
    assert one is other
    assert [view.id for view in one] == sorted(sim.sensors)


async def test_a_sensor_that_goes_meanwhile_is_left_out() -> None:
    """And what changed meanwhile is in the next answer."""
    sim, changes = Sim([]), Changes()
    for number in range(2 * AT_A_TIME):
        sim.add(f"press-{number:04}")
    sim.step()
    fleet = fleet_of(sim, changes)
    looking = asyncio.create_task(fleet.sensors())
    await asyncio.sleep(0)
    for name in ("press-0000", max(sim.sensors)):
        del sim.sensors[name]
    changes.note()
    assert len(await looking) == 2 * AT_A_TIME - 1
    assert len(await fleet.sensors()) == 2 * AT_A_TIME - 2
