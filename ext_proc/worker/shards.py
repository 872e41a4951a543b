"""The shards of a worker: opened when a lease comes, closed when it goes, folded again when fenced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Final, Protocol

import nats.errors
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext

from ext_proc.ending import end
from ext_proc.journal.append import RecordTooLargeError, sentence
from ext_proc.journal.errors import FencedError, LeaseSupersededError, ShardClosedError
from ext_proc.journal.opening import ReplayStalledError, open_shard
from ext_proc.journal.recovery import Position
from ext_proc.journal.shard import LivePublisher, ShardJournal, ShardSettings
from ext_proc.journal.streams import Retention, ensure_streams
from ext_proc.windows.fold import LogOrderError
from ext_proc.worker.audit import AuditResponder
from ext_proc.worker.errors import NotAppliedError
from ext_proc.worker.resources import Lease
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.journal import JournalFormatError

log = structlog.get_logger(__name__)

REOPEN_S: Final = 0.5
CLOSE_S: Final = 4.0  # a journal that is away is not waited for longer: the agents still have what it lacks
HARD_CLOSE_S: Final = 4.0  # what a task that was cancelled has for its end, before it is cancelled again

_UNOPENED = (nats.errors.Error, TimeoutError, OSError, ReplayStalledError, FencedError, RecordTooLargeError)
_UNREADABLE = (JournalFormatError, LogOrderError)


class Following(Protocol):
    """Who delivers to open shards (ext_proc.follower.follower.Follower)."""

    def shard_opened(self, shard: int, journal: ShardJournal) -> None:
        """Deliver to `journal`."""
        ...

    async def shard_closing(self, shard: int) -> None:
        """Deliver no more; returns when that is so."""
        ...


@dataclass(frozen=True, slots=True)
class ShardTools:
    """What every shard of a worker uses."""

    nats: Client
    js: JetStreamContext
    node_id: str
    settings: ShardSettings
    retention: Retention
    publish_live: LivePublisher
    following: Following
    making: asyncio.Lock = field(default_factory=asyncio.Lock)  # of streams: see `_hold_once`


class ShardKeeper:
    """Brings one shard to what is wanted of it: held under a lease with a policy, or not held.

    `journal` is the open shard, `message` why there is none though it is wanted.

    Args:
        shard: The shard.
        tools: What it works with.
        policy: The window policy in force; None while none is known, and then nothing is opened.
        on_crash: Told of an error that nothing here foresaw; the keeper is over then.
    """

    def __init__(
        self,
        shard: int,
        tools: ShardTools,
        policy: config_pb2.WindowPolicy | None,
        on_crash: Callable[[BaseException], None],
    ) -> None:
        self.shard = shard
        self._on_crash = on_crash
        self._tools = tools
        self._lease: Lease | None = None
        self._policy = policy
        self._changed = asyncio.Event()
        self._told: list[asyncio.Future[None]] = []
        self._rules: tuple[int, config_pb2.RuleSet | None] = (0, None)  # version, and what is wanted
        self._held: tuple[int, config_pb2.WindowPolicy] | None = None  # in force in the journal
        self._held_rules = 0  # version
        self._refused: tuple[int, str] = (0, "")
        self._known: Position | None = None
        self.journal: ShardJournal | None = None
        self.message: str | None = None
        self._task = asyncio.create_task(self._keep(), name=f"shard {shard}")
        self._task.add_done_callback(self._on_done)

    @property
    def held(self) -> bool:
        """Say whether the shard is open and written to by this worker."""
        return self._held is not None

    async def hold(self, lease: Lease) -> None:
        """Hold the shard under `lease`; returns when OPEN is in the journal. Raises NotAppliedError."""
        newest = max(self._held[0] if self._held else 0, self._lease.lease_generation if self._lease else 0)
        if lease.lease_generation < newest:
            raise NotAppliedError(
                f"shard {self.shard}: lease generation {lease.lease_generation} is older than {newest}"
            )
        self._want(lease, self._policy)

        def held() -> bool:
            if self._refused[0] >= lease.lease_generation:
                raise NotAppliedError(self._refused[1])
            if self._lease != lease:
                raise NotAppliedError(f"shard {self.shard}: another lease came meanwhile")
            return self._held is not None and self._held[0] == lease.lease_generation

        await self._until(held)

    async def release(self) -> None:
        """Give the shard up; returns when it is closed. Raises NotAppliedError."""
        self._want(None, self._policy)

        def released() -> bool:
            if self._lease is not None:
                raise NotAppliedError(f"shard {self.shard}: a lease came meanwhile")
            return self.journal is None

        await self._until(released)

    async def change_policy(self, policy: config_pb2.WindowPolicy) -> None:
        """Write under `policy`; returns when an open shard's journal says so."""
        self._want(self._lease, policy)
        await self._until(
            lambda: (
                self.journal is None
                or self._policy != policy
                or (self._held is not None and self._held[1] == policy)
            )
        )

    def want_rules(self, rules: config_pb2.RuleSet | None, version: int) -> None:
        """Write under `rules`; None: under those that the log has. `version` rises with every change."""
        self._rules = version, rules
        self._changed.set()

    async def follows_rules(self, version: int) -> None:
        """Return when the journal of an open shard has the rules of `version`, or newer ones."""
        await self._until(lambda: self.journal is None or self._held_rules >= version)

    async def stop(self) -> None:
        """Close the shard in order, within CLOSE_S, and end."""
        self._want(None, self._policy)
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._until(lambda: self.journal is None)
        except TimeoutError:
            log.warning("shard_closed_hard", shard=self.shard, reason=self.message or self._trouble())
        await end(self._task, again_s=HARD_CLOSE_S)

    def _trouble(self) -> str | None:
        return self.journal.trouble if self.journal else None

    def _want(self, lease: Lease | None, policy: config_pb2.WindowPolicy | None) -> None:
        self._lease, self._policy = lease, policy
        self._changed.set()

    async def _until(self, done: Callable[[], bool]) -> None:
        while not done():
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._told.append(future)
            await future

    def _tell(self) -> None:
        told, self._told = self._told, []
        for future in told:
            if not future.done():
                future.set_result(None)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._on_crash(error)

    async def _keep(self) -> None:
        while True:
            lease, policy = await self._next_lease()
            try:
                await self._hold_once(lease, policy)
                self.message = None
                continue
            except LeaseSupersededError as error:
                self._refused = (lease.lease_generation, str(error))
            except _UNOPENED as error:
                self.message = f"shard {self.shard} is not open: {sentence(error)}"
                log.warning("shard_not_open", shard=self.shard, reason=sentence(error))
            except _UNREADABLE as error:
                self.message = f"shard {self.shard} cannot be read: {error}"
                log.exception("shard_unreadable", shard=self.shard)
            finally:
                self._tell()
            await self._pause(REOPEN_S)

    async def _next_lease(self) -> tuple[Lease, config_pb2.WindowPolicy]:
        """Wait for a lease that was not refused, and a policy."""
        while True:
            self._changed.clear()
            lease, policy = self._lease, self._policy
            if lease is not None and policy is not None and lease.lease_generation > self._refused[0]:
                return lease, policy
            self.message = f"shard {self.shard} waits for a window policy" if lease and not policy else None
            self._tell()
            await self._changed.wait()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _hold_once(self, lease: Lease, policy: config_pb2.WindowPolicy) -> None:
        """Open the shard and keep it until it is not wanted any more; raises why it was lost."""
        tools = self._tools
        async with tools.making:  # the server promises room that it does not have to two who ask at once
            await ensure_streams(tools.js, self.shard, tools.retention)
        opened = await open_shard(
            tools.js,
            self.shard,
            tools.node_id,
            lease.lease_generation,
            known=self._known,
            retention=tools.retention,
        )
        if self._lease != lease:
            return  # released, or leased anew, while the log was folded: nothing was written
        journal = ShardJournal(tools.js, opened, tools.settings, tools.publish_live)
        self.journal = journal
        try:
            version, rules = self._rules
            await journal.open(policy, rules)
            self._held_rules = version
            running = asyncio.create_task(journal.run(), name=f"journal {self.shard}")
            try:
                self._now_held(lease, policy)
                tools.following.shard_opened(self.shard, journal)
                async with AuditResponder(tools.nats, journal):
                    await self._follow_wishes(journal, running)
            finally:
                await self._close(journal, running)
            running.result()
        finally:
            if self._held is not None:
                self._known = journal.position
            self.journal = self._held = None
            self._tell()

    def _now_held(self, lease: Lease, policy: config_pb2.WindowPolicy) -> None:
        self._held = (lease.lease_generation, policy)
        self.message = None
        self._tell()

    async def _follow_wishes(self, journal: ShardJournal, running: asyncio.Task[None]) -> None:
        """Bring the open shard to each new lease, policy and rule; returns when it is unwanted or lost."""
        while not running.done():
            self._changed.clear()
            lease, policy, (version, rules) = self._lease, self._policy, self._rules
            if lease is None or policy is None or self._held is None:
                return
            try:
                if lease.lease_generation != self._held[0]:
                    await journal.renew(lease.lease_generation, policy)
                elif policy != self._held[1]:
                    await journal.change_policy(policy)
                if rules is not None and version != self._held_rules:
                    await journal.change_rules(rules)
                    self._held_rules = version
            except ShardClosedError:
                return
            self._now_held(lease, policy)
            await _first(running, self._changed.wait())

    async def _close(self, journal: ShardJournal, running: asyncio.Task[None]) -> None:
        """Stop deliveries, append what came, write a checkpoint."""
        try:
            await self._tools.following.shard_closing(self.shard)
            journal.close()
            await asyncio.wait({running})
        finally:
            await end(running)


async def _first(running: asyncio.Task[None], other: Coroutine[None, None, object]) -> None:
    """Wait for either; `other` is cancelled if it is not the first."""
    waiting = asyncio.ensure_future(other)
    try:
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
