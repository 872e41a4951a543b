"""All streams of a worker: which sensors are followed, into which open shards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from ext_proc.follower.assignment import Assignment
from ext_proc.follower.attempt import Journal, StreamAttempt
from ext_proc.follower.gateway import Gateway
from ext_proc.follower.opening import MOST_OPENING
from ext_proc.follower.pacing import Pacer
from ext_proc.follower.stream import SensorStream
from ext_proc.journal.errors import ShardClosedError
from ext_proc.session.bad_input import BadInput
from ext_proc.session.model import TimeBounds
from wire.status import StreamReport

_SLICE = 256

log = structlog.get_logger(__name__)


class Follower:
    """Follows every assigned sensor whose shard is open.

    A change of one sensor waits for the one before it; sensors do not wait for
    each other. `bad_input` is what could not be used of all streams.
    """

    def __init__(self, gateway: Gateway, opens_per_s: float, bounds: Callable[[], TimeBounds]) -> None:
        self._gateway = gateway
        self._pacer = Pacer(opens_per_s)
        self._places = asyncio.Semaphore(MOST_OPENING)
        self._bounds = bounds
        self._assigned: dict[str, Assignment] = {}
        self._journals: dict[int, Journal] = {}
        self._streams: dict[str, SensorStream] = {}
        self._tokens: dict[str, StreamAttempt] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self.bad_input = BadInput()

    def find(self, token: str) -> StreamAttempt | None:
        """Return the attempt that `token` was issued for; None if it was not issued here, or is over."""
        return self._tokens.get(token)

    @property
    def leaks(self) -> int:
        """Times that bytes of a body reached the streams that are followed now."""
        return sum(stream.leaks for stream in self._streams.values())

    async def statuses(self) -> list[StreamReport]:
        """Return the status of every stream; of many, in slices, so that frames are not kept waiting."""
        reports: list[StreamReport] = []
        for place, stream in enumerate(list(self._streams.values()), start=1):
            reports.append(stream.status())
            if not place % _SLICE:
                await asyncio.sleep(0)
        return reports

    async def assign(self, assignment: Assignment) -> None:
        """Follow a sensor as `assignment` says.

        A change of place resets the stream first; returns when what the old one
        had delivered is in the journal and the new one is started.
        """
        sensor_id = assignment.profile.sensor_id
        async with self._lock(sensor_id):
            before = self._assigned.get(sensor_id)
            self._assigned[sensor_id] = assignment
            stream = self._streams.get(sensor_id)
            if stream is not None and before is not None:
                if before.place == assignment.place:
                    stream.change_profile(assignment.profile)
                    return
                await self._end(sensor_id)
            self._start(assignment)

    async def unassign(self, sensor_id: str) -> None:
        """Reset a sensor's stream; returns when what it had delivered is in the journal."""
        async with self._lock(sensor_id):
            self._assigned.pop(sensor_id, None)
            await self._end(sensor_id)

    def shard_opened(self, shard: int, journal: Journal) -> None:
        """Follow the shard's sensors into `journal`."""
        self._journals[shard] = journal
        for assignment in self._assigned.values():
            if assignment.shard == shard:
                self._start(assignment)

    async def shard_closing(self, shard: int) -> None:
        """Reset every stream of the shard; returns when nothing more is delivered to it."""
        journal = self._journals.pop(shard, None)
        ending = [sensor_id for sensor_id, stream in self._streams.items() if stream.journal is journal]
        await asyncio.gather(*(self._streams.pop(sensor_id).stop() for sensor_id in ending))

    def _lock(self, sensor_id: str) -> asyncio.Lock:
        return self._locks.setdefault(sensor_id, asyncio.Lock())

    def _start(self, assignment: Assignment) -> None:
        journal = self._journals.get(assignment.shard)
        sensor_id = assignment.profile.sensor_id
        if journal is None or sensor_id in self._streams:
            return
        stream = self._streams[sensor_id] = SensorStream(
            assignment.profile,
            cluster=assignment.cluster,
            endpoint_version=assignment.endpoint_version,
            journal=journal,
            gateway=self._gateway,
            pacer=self._pacer,
            places=self._places,
            bounds=self._bounds,
            tokens=self._tokens,
            bad_input=self.bad_input,
        )
        stream.start()

    async def _end(self, sensor_id: str) -> None:
        """Stop a sensor's stream and see what it delivered into the journal."""
        stream = self._streams.pop(sensor_id, None)
        if stream is None:
            return
        await stream.stop()
        try:
            await stream.journal.flush()
        except ShardClosedError:  # the next owner of the shard asks the agent again from the journal's cursor
            log.info("shard_closed_before_flush", sensor=sensor_id)
