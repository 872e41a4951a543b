"""What the API needs from the rest of the control plane, and from whoever runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from control_plane.model import (
    AuditRow,
    HostView,
    IdempotencyClaim,
    NodeView,
    Principal,
    SensorSpec,
    SensorView,
    StoredAnswer,
)
from wire.status import ShardAudit, SinkStatus


class FleetPort(Protocol):
    """Desired and observed state of the fleet.

    Errors are those of `control_plane.model`; a call that raises changed nothing.
    """

    def sensors(self) -> Sequence[SensorView]:
        """Return every sensor."""
        ...

    def sensor(self, sensor_id: str) -> SensorView | None:
        """Return one sensor, None if there is none."""
        ...

    async def add_sensor(self, spec: SensorSpec) -> SensorView:
        """Store a sensor. Raises SensorExistsError, UnknownHostError, StoreUnavailableError."""
        ...

    async def remove_sensor(self, sensor_id: str) -> SensorView:
        """Begin to remove a sensor; while it is being removed this does nothing.

        Raises UnknownSensorError, StoreUnavailableError.
        """
        ...

    def hosts(self) -> Sequence[HostView]:
        """Return every hypervisor host."""
        ...

    def nodes(self) -> Sequence[NodeView]:
        """Return every Envoy and worker that is or was connected."""
        ...

    def sinks(self) -> Sequence[SinkStatus]:
        """Return the last status of every sink."""
        ...

    async def audit(self) -> Sequence[ShardAudit]:
        """Return the audit of every shard. Raises AuditUnavailableError."""
        ...

    def live_windows(self, sensor_ids: Sequence[str]) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Subscribe to live windows of the sensors (none named: of all).

        Each item is wire.status.LiveWindows as JSON. A subscriber that is slow
        loses the oldest; nothing waits for it.
        """
        ...

    async def wait_change(self, after: int, timeout_s: float) -> int:
        """Return the version of the sensors' views once it is past `after`, or after `timeout_s`.

        The version rises whenever a view may have changed; it begins above 0.
        """
        ...


class History(Protocol):
    """Windows of the past, from whatever store this installation has."""

    async def windows(
        self,
        sensor_id: str,
        metric: str,
        size_ms: int,
        *,
        since_unix_ns: int,
        until_unix_ns: int,
        limit: int,
    ) -> list[dict[str, object]]:
        """Return the newest `limit` windows that begin in [since, until), newest last.

        Highest revision only. Keys are the columns of the warehouse's view
        `windows_latest`; times are datetimes or RFC 3339 text.
        """
        ...


@dataclass(frozen=True, slots=True)
class Claimed:
    """The request is to be served.

    `again`: it was claimed before and never answered, so it may have been carried
    out; only then is a sensor that exists as asked for its result.
    """

    again: bool


class Accounts(Protocol):
    """What people do: their tokens, the audit of their acts, their idempotency keys."""

    async def authenticate(self, token: str) -> Principal | None:
        """Return whose token it is (compared by hash), None if nobody's."""
        ...

    async def record(self, row: AuditRow) -> None:
        """Keep an audit row; if its `at_unix_ns` is 0, with the time of now."""
        ...

    async def claim(self, claim: IdempotencyClaim) -> Claimed | StoredAnswer:
        """Claim a key, or return the answer that it has, in one transaction.

        Keys older than 24 h are forgotten. A claim that was released, made by an
        earlier process, or not answered for 30 s is given again.
        Raises IdempotencyConflictError.
        """
        ...

    async def settle(self, claim: IdempotencyClaim, answer: StoredAnswer, row: AuditRow) -> None:
        """Keep the answer for the key, and the audit row of what was done, in one transaction."""
        ...

    async def release(self, claim: IdempotencyClaim) -> None:
        """Give the key back unanswered: the request failed and may come again."""
        ...


@dataclass(frozen=True, slots=True)
class Info:
    """What the API tells of the installation that nothing else knows.

    Attributes:
        version: Of the product.
        shards: How many there are.
        urls: What `/v1/status` shows under `urls`.
        token_file: Where the operator finds the token, for the page's form and 401 problems.
        missing: Says what is still missing before this control plane is ready, in a sentence each.
    """

    version: str
    shards: int
    urls: Mapping[str, str] = field(default_factory=dict)
    token_file: str = ""
    missing: Callable[[], Sequence[str]] = tuple
