"""The fold of a shard's readings log into windows, events and audit counters.

Only the log matters: folding the same records again, from any checkpoint,
gives the same rows with the same revisions, byte for byte.

What becomes of a reading, the first that holds (fates.py):
  duplicate    its seq is not above the cursor of its epoch
  quarantined  the session's verdict is not OK
  excluded     its quality is not GOOD
  too_late     its event time is before watermark - horizon
  aggregated   otherwise: it is in one window of each size in force
A sensor's watermark is the highest event time of its aggregated readings. It
moves once a record: lateness is judged by the watermark before the record, so
the order of event times within a record does not matter.

A window [k * size, (k + 1) * size) of a series (sensor, metric, unit) is
emitted (revision 1) when the sensor's watermark reaches its end, or when the
sensor has been idle in log time, which does not move the watermark
(docs/adr/0009). Readings for an emitted window emit it again with the next
revision, once a record. When a policy takes a size out of force, its windows
are emitted as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from ext_proc.rules import saved as rules_saved
from ext_proc.rules.book import RuleBook
from ext_proc.rules.events import RuleEvent, encode_events
from ext_proc.rules.rule import RuleError
from ext_proc.windows import state
from ext_proc.windows.accounts import Accounts
from ext_proc.windows.arrays import Ints
from ext_proc.windows.grouping import SortedReadings
from ext_proc.windows.records import read_rows
from ext_proc.windows.rows import EMPTY, concat, encode_windows
from ext_proc.windows.table import WindowTable
from wire.events import NO_EVENTS
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import SCHEMA_VERSION, JournalFormatError, check_schema
from wire.status import ShardAudit

_MS: Final = 1_000_000
_IDLE_CHECK_NS: Final = 250 * _MS  # idleness is looked for when log time enters another slot of this length
_MOST_NS: Final = 2**62
_NO_SLOTS: Final[Ints] = np.empty(0, np.int64)


class LogOrderError(ValueError):
    """A record does not follow the ones before it; the fold is unchanged.

    `field` of the record has `value`, which breaks `rule`.
    """

    def __init__(self, field: str, value: int, rule: str) -> None:
        self.field = field
        self.value = value
        self.rule = rule
        super().__init__(f"{field} {value} {rule}")


@dataclass(frozen=True, slots=True)
class FoldOutput:
    """What one record emitted, in fold order: windows by size, series, start; events by rule."""

    journalled: pa.RecordBatch  # of the sizes that go back to the journal
    live: pa.RecordBatch  # of every size
    events: pa.RecordBatch


_NOTHING: Final = FoldOutput(EMPTY, EMPTY, NO_EVENTS)


class Fold:
    """The state of a shard after the readings record `through`.

    Attributes:
        through: Journal sequence of the newest record; 0 before the first.
        now_unix_ns: Its log time.
        policy: In force; empty before the first OPEN, when there are no windows and nothing is too late.
    """

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.generation = 0
        self.through = 0
        self.now_unix_ns = 0
        self.policy = config_pb2.WindowPolicy()
        self._accounts = Accounts()
        self._table = WindowTable()
        self._rules = RuleBook(self._accounts.names)

    @classmethod
    def restore(cls, checkpoint: journal_pb2.Checkpoint) -> Fold:
        """Return the fold that wrote `checkpoint`. Raises JournalFormatError."""
        check_schema(checkpoint.schema)
        fold = cls(checkpoint.shard)
        fold.generation, fold.through = checkpoint.generation, checkpoint.through
        fold.now_unix_ns = checkpoint.now_unix_ns
        fold._accounts, fold._table = state.restore(checkpoint.tables)
        fold.policy.CopyFrom(checkpoint.policy)
        fold._table.force(_sizes_ns(checkpoint.policy))
        fold._rules = rules_saved.restore(fold._accounts.names, checkpoint.rules, checkpoint.tables)
        return fold

    def checkpoint(self) -> journal_pb2.Checkpoint:
        """Return the whole state."""
        return journal_pb2.Checkpoint(
            schema=SCHEMA_VERSION,
            shard=self.shard,
            generation=self.generation,
            through=self.through,
            now_unix_ns=self.now_unix_ns,
            policy=self.policy,
            tables=state.save(self._accounts, self._table) | rules_saved.save(self._rules),
            rules=self._rules.rules(),
        )

    @property
    def rules(self) -> config_pb2.RuleSet:
        """Return the rules in force."""
        return self._rules.rules()

    def cursors(self) -> dict[str, dict[int, int]]:
        """Return the committed cursors: sensor to {epoch: highest seq}, the newest epoch last.

        At most the last cursors.EPOCHS_KEPT epochs of a sensor; sensors without any are left out.
        """
        accounts = self._accounts
        cursors = {name: accounts.cursors.of(place) for place, name in enumerate(accounts.names.sensors)}
        return {name: epochs for name, epochs in cursors.items() if epochs}

    def audit(self) -> ShardAudit:
        """Return the audit counters of every sensor."""
        return ShardAudit(
            shard=self.shard,
            generation=self.generation,
            through=self.through,
            sensors=self._accounts.audit.report(self._accounts.names.sensors),
        )

    def apply(self, seq: int, record: journal_pb2.ReadingsRecord) -> FoldOutput:
        """Fold the record with journal sequence `seq`; return the rows it emits.

        Raises LogOrderError or JournalFormatError; the state is then unchanged.
        """
        self._check(seq, record)
        rows = read_rows(record)
        ended = self._change_rules(record)
        enters_slot = record.now_unix_ns // _IDLE_CHECK_NS > self.now_unix_ns // _IDLE_CHECK_NS
        since_last_ns = record.now_unix_ns - self.now_unix_ns
        self.through, self.generation, self.now_unix_ns = seq, record.generation, record.now_unix_ns
        gone = self._change_policy(record.policy) if record.HasField("policy") else _NOTHING
        settled = None
        if rows is not None or record.notes:
            settled = self._accounts.settle(rows, record.notes, self.now_unix_ns)
        events = ended
        if self._rules.active:
            passed_ns = since_last_ns if enters_slot else None
            events = [*ended, *self._rules.follow(settled, self.now_unix_ns, self.policy, passed_ns)]
        output = self._aggregate(settled.readings if settled else None, enters_slot)
        if self._table.crowded:
            self._table.sweep(self._accounts.clocks.closed[self._accounts.names.series_sensor])
        if gone is _NOTHING and not events:
            return output
        return FoldOutput(
            concat([gone.journalled, output.journalled]),
            concat([gone.live, output.live]),
            encode_events(events),
        )

    def _check(self, seq: int, record: journal_pb2.ReadingsRecord) -> None:
        if record.shard != self.shard:
            raise LogOrderError("shard", record.shard, f"is not the fold's, {self.shard}")
        if record.generation < self.generation:
            raise LogOrderError("generation", record.generation, f"must not be below {self.generation}")
        if seq <= self.through:
            raise LogOrderError("sequence", seq, f"must be above {self.through}")
        if record.now_unix_ns < self.now_unix_ns:
            raise LogOrderError("now_unix_ns", record.now_unix_ns, f"must not be below {self.now_unix_ns}")

    def _change_policy(self, policy: config_pb2.WindowPolicy) -> FoldOutput:
        """Take `policy` over; windows of sizes that are gone are emitted under the old one."""
        gone = self._table.force(_sizes_ns(policy))
        output = self._emit(gone) if len(gone) else _NOTHING
        self.policy = config_pb2.WindowPolicy()
        self.policy.CopyFrom(policy)
        return output

    def _change_rules(self, record: journal_pb2.ReadingsRecord) -> list[RuleEvent]:
        """Take the rules of a record over; return the ends of events whose rule went."""
        if not record.HasField("rules"):
            return []
        try:
            return self._rules.change(record.rules, record.now_unix_ns)
        except RuleError as error:
            raise JournalFormatError(f"rules: {error}") from error

    def _aggregate(self, readings: SortedReadings | None, look_for_idle: bool) -> FoldOutput:
        """Put readings into windows; emit what is due by now, and again what was emitted before."""
        clocks, policy = self._accounts.clocks, self.policy
        slots = _NO_SLOTS
        if readings is not None:
            slots = self._table.add(readings)
            has_policy = policy.ByteSize() > 0
            horizon_ns = min(policy.horizon_ms * _MS, _MOST_NS) if has_policy else _MOST_NS
            clocks.advance(readings.sensor, readings.time, horizon_ns)
        elif not look_for_idle:
            return _NOTHING
        idle_close_ns = min(policy.idle_close_ms * _MS, _MOST_NS) if look_for_idle else None
        due = self._table.take_due(clocks.due(self.now_unix_ns, idle_close_ns))
        return self._emit(np.concatenate((slots, due)))

    def _emit(self, slots: Ints) -> FoldOutput:
        """Emit rows with their next revision."""
        if not len(slots):
            return _NOTHING
        table, names = self._table, self._accounts.names
        slots = table.emit(slots)
        journalled = {size.size_ms * _MS for size in self.policy.sizes if size.journalled}
        kept = np.array([size_ns in journalled for size_ns in table.sizes_ns])[table.size[slots]]
        live = encode_windows(table, slots, names)
        journal = live if kept.all() else encode_windows(table, slots[kept], names)
        return FoldOutput(journal, live, NO_EVENTS)


def _sizes_ns(policy: config_pb2.WindowPolicy) -> set[int]:
    return {size.size_ms * _MS for size in policy.sizes}
