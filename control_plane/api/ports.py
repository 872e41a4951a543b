"""What the API needs from the rest of the control plane, and from whoever runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from control_plane.model import HostView, SensorSpec, SensorView
from control_plane.node_model import NodeDetail, NodeSummary, NodeView, Role, SensorDetail
from control_plane.rule_model import RuleSpec, RuleView
from wire.status import ShardAudit, SinkStatus


class FleetPort(Protocol):
    """Desired and observed state of the fleet.

    Errors are those of `control_plane.model`. A call that raises changed nothing, but
    for StoreUnavailableError: then it is not known.
    """

    async def sensors(self) -> Sequence[SensorView]:
        """Return every sensor."""
        ...

    def sensor(self, sensor_id: str) -> SensorDetail | None:
        """Return one sensor with what carries it, None if there is none."""
        ...

    async def add_sensor(self, spec: SensorSpec) -> SensorDetail:
        """Store a sensor. Raises SensorExistsError, UnknownHostError, StoreUnavailableError."""
        ...

    async def remove_sensor(self, sensor_id: str) -> SensorDetail:
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

    def node_summaries(self) -> Sequence[NodeSummary]:
        """Return each of them in a few words, which takes less time."""
        ...

    def node(self, role: Role, node_id: str) -> NodeDetail | None:
        """Return one of them with every resource, None if there is none."""
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


class RulesPort(Protocol):
    """The rules, and the events that they made. Errors are those of `control_plane.rule_model`."""

    def rules(self) -> Sequence[RuleView]:
        """Return every rule, by id."""
        ...

    def rule(self, rule_id: str) -> RuleView | None:
        """Return one rule, None if there is none."""
        ...

    async def put_rule(self, spec: RuleSpec, last: int | None) -> RuleView:
        """Store a rule, if it still has revision `last` (0: it is not there; None: whichever it has).

        Raises RuleConflictError, TooManyRulesError, StoreUnavailableError.
        """
        ...

    async def remove_rule(self, rule_id: str, last: int | None) -> RuleView:
        """Remove a rule, if it still has revision `last`; return what it was.

        Raises UnknownRuleError, RuleConflictError, StoreUnavailableError.
        """
        ...

    async def events(self, since_unix_ns: int) -> Sequence[Mapping[str, Any]]:
        """Return CloudEvents that were journalled since then, newest last. Raises EventsUnavailableError."""
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
class Principal:
    """Who is asking: the owner of a token."""

    id: str  # stable, e.g. the token's row id; idempotency keys are kept apart by it
    name: str  # for people and audit rows, e.g. "operator"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that somebody did. `outcome` is the HTTP status that they were told."""

    principal: Principal
    action: Literal["sensor.add", "sensor.remove", "rule.set", "rule.remove"]
    target: str  # the sensor's or the rule's id
    outcome: int
    detail: Mapping[str, object] = field(default_factory=dict)  # JSON


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A request that may come again. `fingerprint` is a hash of method, path and body."""

    principal: Principal
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request with an idempotency key was answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Begun:
    """The request is to be served.

    `again`: it was noted before and never answered (a crash, a failure), so it may
    have been carried out; only then is a sensor that exists as asked for its result.
    """

    again: bool


class KeyReusedError(Exception):
    """The idempotency key was used with another fingerprint within its life."""


class Accounts(Protocol):
    """What people do: their tokens, the audit of their acts, their idempotency keys."""

    async def authenticate(self, token: str) -> Principal | None:
        """Return whose token it is (compared by hash), None if nobody's."""
        ...

    async def record(self, entry: AuditEntry) -> None:
        """Keep an audit row, with the time of now."""
        ...

    async def begin(self, key: IdempotencyKey) -> Begun | Answer:
        """Note that a request with this key is being served, unless it already is noted or answered.

        In one transaction: keys older than 24 h go; a key that was answered
        gives its answer; else the key is noted, as often as it comes. Raises KeyReusedError.
        """
        ...

    async def complete(self, key: IdempotencyKey, answer: Answer, entry: AuditEntry) -> None:
        """Keep the answer for the key, and the audit row of what was done, in one transaction."""
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
