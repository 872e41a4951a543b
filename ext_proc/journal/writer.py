"""What a writer puts into its records, and what an append that got no answer came to. Pure."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from ext_proc.journal.batch import Batch
from ext_proc.journal.pending import Chunk
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import SCHEMA_VERSION, encode_rows

APPEND_ID_BYTES = 16


class RecordWriter:
    """Makes the records of one shard under one lease.

    R1: `now` never goes back; a clock that does is held at the newest time written.

    Args:
        shard: The shard.
        writer: The worker's node id.
        generation: The journal's generation (R7).
        lease_generation: The lease (R2).
        now_unix_ns: The newest time in the shard's log.
    """

    def __init__(
        self, shard: int, writer: str, generation: int, lease_generation: int, now_unix_ns: int
    ) -> None:
        self.shard = shard
        self.writer = writer
        self.generation = generation
        self.lease_generation = lease_generation
        self.now_unix_ns = now_unix_ns

    def open(
        self, policy: config_pb2.WindowPolicy, now_unix_ns: int, rules: config_pb2.RuleSet | None = None
    ) -> journal_pb2.ReadingsRecord:
        """Return the first record under a lease; `rules` None: those of the log stay in force."""
        record = self._record(journal_pb2.ReadingsRecord.OPEN, now_unix_ns)
        record.policy.CopyFrom(policy)
        if rules is not None:
            record.rules.CopyFrom(rules)
        return record

    def rules(self, rules: config_pb2.RuleSet, now_unix_ns: int) -> journal_pb2.ReadingsRecord:
        """Return a record that has these rules be in force from the next record on, and no others."""
        record = self._record(journal_pb2.ReadingsRecord.RULES, now_unix_ns)
        record.rules.CopyFrom(rules)
        return record

    def policy(self, policy: config_pb2.WindowPolicy, now_unix_ns: int) -> journal_pb2.ReadingsRecord:
        """Return a record that changes the policy from the next record on."""
        record = self._record(journal_pb2.ReadingsRecord.POLICY, now_unix_ns)
        record.policy.CopyFrom(policy)
        return record

    def tick(self, now_unix_ns: int) -> journal_pb2.ReadingsRecord:
        """Return a record that only says what time it is."""
        return self._record(journal_pb2.ReadingsRecord.TICK, now_unix_ns)

    def readings(self, batch: Batch, now_unix_ns: int) -> journal_pb2.ReadingsRecord:
        """Return the record of a batch."""
        record = self._record(journal_pb2.ReadingsRecord.READINGS, now_unix_ns)
        record.notes.extend(batch.notes)
        if batch.rows is not None:
            record.count = batch.rows.num_rows
            record.rows = encode_rows(batch.rows)
        return record

    def emitted(self, chunk: Chunk) -> journal_pb2.WindowsRecord:
        """Return the record of rows that the fold emitted."""
        return journal_pb2.WindowsRecord(
            schema=SCHEMA_VERSION,
            shard=self.shard,
            generation=chunk.generation,
            now_unix_ns=self.now_unix_ns,
            append_id=secrets.token_bytes(APPEND_ID_BYTES),
            writer=self.writer,
            through=chunk.through,
            count=chunk.rows.num_rows,
            rows=encode_rows(chunk.rows),
            skip=chunk.skip,
            more=chunk.more,
        )

    def _record(self, kind: journal_pb2.ReadingsRecord.Kind, now_unix_ns: int) -> journal_pb2.ReadingsRecord:
        self.now_unix_ns = max(self.now_unix_ns, now_unix_ns)
        return journal_pb2.ReadingsRecord(
            schema=SCHEMA_VERSION,
            kind=kind,
            shard=self.shard,
            generation=self.generation,
            now_unix_ns=self.now_unix_ns,
            append_id=secrets.token_bytes(APPEND_ID_BYTES),
            writer=self.writer,
            lease_generation=self.lease_generation,
        )


@dataclass(frozen=True, slots=True)
class LastMessage:
    """The newest message of a stream: its sequence and the Gw-Append-Id header, "" if it has none."""

    seq: int
    append_id: str


@dataclass(frozen=True, slots=True)
class WentIn:
    """The append is in the stream as `seq`."""

    seq: int


@dataclass(frozen=True, slots=True)
class Again:
    """The stream is as it was before the append: send the same message again."""


@dataclass(frozen=True, slots=True)
class Fenced:
    """The stream is not ours any more."""

    head: int
    reason: str


def settle(append_id: str, head: int, last: LastMessage) -> WentIn | Again | Fenced:
    """Decide what became of an append that expected `head` as the stream's last sequence.

    With one append in flight, a compare-and-set on `head` and a unique id, the
    newest message tells: our own id, it went in; `head` still newest, it did
    not (and if it is still on its way, sending it again is harmless: only the
    first of the two can match); anything else, someone else has written, or
    the stream has lost its end.

    Args:
        append_id: Hex id of the message.
        head: The last sequence that it expected.
        last: The newest message now; seq 0 for an empty stream.
    """
    if last.append_id == append_id:
        return WentIn(last.seq)
    if last.seq == head:
        return Again()
    if last.seq < head:
        return Fenced(last.seq, f"the stream ends at {last.seq}, before {head}: its end was lost")
    return Fenced(last.seq, f"another writer appended: the stream ends at {last.seq}, not {head}")
