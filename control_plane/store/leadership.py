"""Leading, over the settings bucket: the key `leader`, written and watched (see leadership_state)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Final

import structlog
from nats.js.kv import KeyValue

from control_plane.ending import end
from control_plane.model import StoreUnavailableError
from control_plane.store.bucket import ConflictError, settled
from control_plane.store.connection import Connection
from control_plane.store.desired import DesiredState
from control_plane.store.leadership_state import LEAD_S, LeadershipState, Write
from control_plane.store.records import LEADER_KEY, LeaderRecord
from wire.names import SETTINGS_BUCKET

log = structlog.get_logger(__name__)

ANSWER_S: Final = 0.8  # two renewals fit in before a leader must stop
DELETE_S: Final = 1.0


class LeadershipLostError(RuntimeError):
    """This control plane led and may not go on: it has to end, and be started again as a standby."""

    def __init__(self, replica: str, reason: str) -> None:
        super().__init__(
            f"replica {replica} does not lead any more: {reason}. Start it again: it then stands by"
        )


def passed_s() -> float:
    """Return the seconds of a clock that also counts while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(slots=True)
class Lead:
    """Whether this process may act. Asked right before each act: it may have been stopped for a while.

    `state` None: there is one control plane, which always may.
    """

    state: LeadershipState | None = None

    def __call__(self) -> bool:
        """Return whether it may, now."""
        return self.state is None or self.state.leads(passed_s())


class Leadership:
    """Takes the lead when there is none, and keeps it.

    Args:
        connection: To NATS.
        desired: Watched.
        me: What the key is to say.
        state: Of `me.instance`.
    """

    def __init__(
        self, connection: Connection, desired: DesiredState, me: LeaderRecord, state: LeadershipState
    ) -> None:
        self._js = connection.client.jetstream(timeout=ANSWER_S)
        self._kv: KeyValue | None = None
        self._desired = desired
        self._me = me
        self._state = state
        self._wake = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._won = asyncio.Event()
        connection.on_reconnect(self._store_is_back)
        desired.on_leader(self._look)
        self._look()

    async def won(self, others: Iterable[asyncio.Task[None]]) -> None:
        """Wait until this replica leads; raises what one of the `others` ends with before."""
        winning = asyncio.create_task(self._won.wait(), name="stand by")
        try:
            await asyncio.wait({winning, *others}, return_when=asyncio.FIRST_COMPLETED)
            for task in others:
                if task.done():
                    task.result()
        finally:
            await end([winning])

    async def run(self) -> None:
        """Stand by, then lead, until cancelled. Raises LeadershipLostError."""
        while True:
            self._wake.clear()
            write = self._state.due(passed_s())
            if write is not None:
                self._writing = asyncio.create_task(self._write(write), name="write leader")
            wait_s = self._state.wait_s(passed_s())
            if self._state.lost is not None:
                log.error("leadership_lost", replica=self._me.replica, reason=self._state.lost)
                raise LeadershipLostError(self._me.replica, self._state.lost)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()

    async def stop(self) -> None:
        """Give the lead up, if we have it: another one takes it at once."""
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=ANSWER_S)  # else the revision is not known
            await end([self._writing])
        revision = self._state.give_up(passed_s())
        if revision is None or self._kv is None:
            return
        try:
            async with asyncio.timeout(DELETE_S):
                await settled(SETTINGS_BUCKET, LEADER_KEY, self._kv.delete(LEADER_KEY, last=revision))
        except (ConflictError, StoreUnavailableError, TimeoutError) as error:
            log.info("lead_not_given_up", reason=str(error))
        else:
            log.info("lead_given_up", replica=self._me.replica)

    async def _write(self, write: Write) -> None:
        try:
            revision = await self._settled(write.last)
        except (ConflictError, StoreUnavailableError) as error:
            log.info("leader_not_written", reason=str(error))
            self._state.failed(passed_s(), conflict=isinstance(error, ConflictError))
        else:
            self._state.acknowledged(revision, passed_s())
            self._say_if_won()
        finally:
            self._wake.set()

    async def _settled(self, last: int) -> int:
        """Write the key; return its revision. Raises ConflictError, StoreUnavailableError."""
        kv, value = await self._opened(), self._me.encode()
        writing = kv.update(LEADER_KEY, value, last) if last else kv.create(LEADER_KEY, value)
        revision: int = await settled(SETTINGS_BUCKET, LEADER_KEY, writing)
        return revision

    async def _opened(self) -> KeyValue:
        if self._kv is None:
            self._kv = await settled(SETTINGS_BUCKET, LEADER_KEY, self._js.key_value(SETTINGS_BUCKET))
        return self._kv

    def _say_if_won(self) -> None:
        if not self._won.is_set() and self._state.leads(passed_s()):
            log.info("leading", replica=self._me.replica, until_s=LEAD_S)
            self._won.set()

    def _look(self) -> None:
        """See what the key says."""
        if self._desired.leader is None:
            self._state.saw_none(passed_s())
        else:
            revision, record = self._desired.leader
            self._state.saw(revision, record.instance, passed_s())
        self._wake.set()

    def _store_is_back(self) -> None:
        self._state.store_was_away(passed_s())


@contextlib.asynccontextmanager
async def leading(leadership: Leadership) -> AsyncIterator[asyncio.Task[None]]:
    """Run it within the context, and give the lead up at its end.

    What only a leader does must have ended then.
    """
    task = asyncio.create_task(leadership.run(), name="leadership")
    try:
        yield task
    finally:
        await end([task])
        await leadership.stop()
