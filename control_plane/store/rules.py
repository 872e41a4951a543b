"""The rules: in memory and in JetStream KV."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from control_plane.rule_model import (
    MAX_RULES,
    MAX_RULES_BYTES,
    Rule,
    RuleConflictError,
    RuleSpec,
    TooManyRulesError,
    UnknownRuleError,
)
from control_plane.store.bucket import Bucket, ConflictError
from control_plane.store.connection import Connection
from control_plane.store.records import RecordFormatError, RuleRecord, decode
from wire.names import RULES_BUCKET

log = structlog.get_logger(__name__)


class RuleStore:
    """Rules as people asked for them. Reads are from memory.

    Args:
        connection: To NATS.
        changed: Called after every change.
        may_write: Whether this control plane may write, asked before each write.

    Attributes:
        rules: By id.
        bucket: What holds them.
    """

    def __init__(
        self, connection: Connection, changed: Callable[[], None], may_write: Callable[[], bool]
    ) -> None:
        self.rules: dict[str, Rule] = {}
        self.bucket = Bucket(connection, RULES_BUCKET, self._changed, may_write)
        self._on_change = changed

    async def put(self, spec: RuleSpec, last: int | None = None) -> Rule:
        """Store a rule, if it still has revision `last` (0: it is not there; None: whichever it has).

        One that is as it was keeps its revision. Raises RuleConflictError,
        TooManyRulesError, StoreUnavailableError.
        """
        revision = self._revision(spec.id)
        if last is not None and last != revision:
            raise RuleConflictError(spec.id, revision)
        known = self.rules.get(spec.id)
        if known is not None and known.spec == spec:
            return known
        value = RuleRecord(spec=spec).encode()
        others = [entry.value or b"" for key, entry in self.bucket.items().items() if key != spec.id]
        if len(others) >= MAX_RULES or sum(map(len, others)) + len(value) > MAX_RULES_BYTES:
            raise TooManyRulesError
        try:
            return Rule(spec, await self.bucket.put(spec.id, value))
        except ConflictError as error:
            raise RuleConflictError(spec.id, self._revision(spec.id)) from error

    async def remove(self, rule_id: str, last: int | None = None) -> Rule:
        """Delete a rule, if it still has revision `last` (None: whichever it has).

        Raises UnknownRuleError, RuleConflictError, StoreUnavailableError.
        """
        known = self.rules.get(rule_id)
        if known is None:
            raise UnknownRuleError(rule_id)
        if last is not None and last != known.revision:
            raise RuleConflictError(rule_id, known.revision)
        try:
            await self.bucket.delete(rule_id, known.revision)
        except ConflictError as error:
            raise RuleConflictError(rule_id, self._revision(rule_id)) from error
        return known

    def _revision(self, rule_id: str) -> int:
        known = self.rules.get(rule_id)
        return known.revision if known else 0

    def _changed(self, keys: set[str]) -> None:
        for key in keys:
            entry = self.bucket.get(key)
            if entry is None or entry.value is None:
                self.rules.pop(key, None)
                continue
            try:
                record = decode(RuleRecord, key, entry.value)
            except RecordFormatError as error:  # the last good one stays
                log.warning("record_unreadable", bucket=RULES_BUCKET, reason=str(error))
            else:
                self.rules[key] = Rule(record.spec, entry.revision)
        self._on_change()
