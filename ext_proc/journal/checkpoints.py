"""Checkpoints in JetStream: the newest few of each shard.

A checkpoint larger than one message is sent in parts. All but the last go to a
subject of their own, and the header of the last names their sequences: so 'the
newest checkpoint' is one read, and a writer that dies between two parts leaves
the checkpoint before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import nats.js.errors
import structlog
from google.protobuf.message import DecodeError
from nats.js import JetStreamContext

from ext_proc.journal.errors import JournalError
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import check_schema
from wire.names import CHECKPOINT_STREAM, checkpoint_parts_subject, checkpoint_subject

log = structlog.get_logger(__name__)

PARTS_HEADER: Final = "Gw-Checkpoint-Parts"
WINDOWS_HEADER: Final = "Gw-Windows-Sequence"
EVENTS_HEADER: Final = "Gw-Events-Sequence"
PART_BYTES: Final = 4 << 20
MAX_PARTS: Final = 32  # half of the parts that the stream keeps for a shard


class CheckpointTooLargeError(JournalError):
    """A checkpoint does not fit into what is kept of a shard."""


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A checkpoint, and the last sequences of the windows and events streams when it was taken.

    The windows that it covers are in that stream up to there: if the stream
    ends before, windows were lost which this checkpoint cannot emit again. So are the events.
    """

    checkpoint: journal_pb2.Checkpoint
    windows_seq: int
    events_seq: int = 0


async def save_checkpoint(
    js: JetStreamContext, stored: StoredCheckpoint, part_bytes: int = PART_BYTES
) -> None:
    """Write a checkpoint. Raises CheckpointTooLargeError, or nats errors."""
    checkpoint = stored.checkpoint
    data = checkpoint.SerializeToString()
    parts = [data[at : at + part_bytes] for at in range(0, len(data), part_bytes)]
    if len(parts) > MAX_PARTS:
        raise CheckpointTooLargeError(
            f"shard {checkpoint.shard}: a checkpoint of {len(data)} bytes is above {MAX_PARTS * part_bytes}"
        )
    subject = checkpoint_parts_subject(checkpoint.shard)
    earlier = [(await js.publish(subject, part)).seq for part in parts[:-1]]
    headers = {
        PARTS_HEADER: ",".join(map(str, earlier)) or "-",
        WINDOWS_HEADER: str(stored.windows_seq),
        EVENTS_HEADER: str(stored.events_seq),
    }
    await js.publish(checkpoint_subject(checkpoint.shard), parts[-1], headers=headers)


async def load_checkpoint(js: JetStreamContext, shard: int) -> StoredCheckpoint | None:
    """Return the newest checkpoint of `shard`; None if there is none that is whole.

    Raises JournalFormatError for one of a newer version, and nats errors.
    """
    try:
        last = await js.get_last_msg(CHECKPOINT_STREAM, checkpoint_subject(shard))
        headers = last.headers or {}
        named = headers.get(PARTS_HEADER)
        if named is None:
            log.warning("checkpoint_unmarked", shard=shard)
            return None
        data = b""
        for seq in [] if named == "-" else named.split(","):
            data += (await js.get_msg(CHECKPOINT_STREAM, seq=int(seq))).data or b""
    except nats.js.errors.NotFoundError:
        return None
    try:
        checkpoint = journal_pb2.Checkpoint.FromString(data + (last.data or b""))
    except DecodeError:  # the log itself is folded instead
        log.warning("checkpoint_damaged", shard=shard)
        return None
    check_schema(checkpoint.schema)
    windows_seq, events_seq = (int(headers.get(name, "0")) for name in (WINDOWS_HEADER, EVENTS_HEADER))
    return StoredCheckpoint(checkpoint, windows_seq, events_seq)
