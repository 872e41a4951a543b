"""The JetStream streams of the journal: made when missing, otherwise left as the operator keeps them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Final

import nats.js.errors
import structlog
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from wire import names

log = structlog.get_logger(__name__)

DAY_S: Final = 86_400.0
GIB: Final = 1 << 30
MIN_BYTES: Final = 64 << 20
CHECKPOINT_MESSAGES: Final = (
    64  # kept of each subject; a shard of 5,000 sensors and 20,000 series has 20 parts
)
INSUFFICIENT_STORAGE: Final = 10047  # JetStream's error code
NAME_IN_USE: Final = 10058  # made by someone else meanwhile, with another configuration


@dataclass(frozen=True, slots=True)
class Retention:
    """How long and how much the journal keeps; the oldest records go first.

    The bytes are for each stream, so for each shard.
    """

    max_age_s: float = 7 * DAY_S
    readings_bytes: int = 4 * GIB
    windows_bytes: int = 1 * GIB
    events_bytes: int = 256 << 20


async def ensure_streams(js: JetStreamContext, shard: int, retention: Retention) -> None:
    """Make the streams of `shard`, and that of checkpoints, where they are missing.

    Raises nats errors if JetStream cannot be reached or refuses.
    """
    await _ensure(
        js, names.readings_stream(shard), names.readings_subject(shard), retention, retention.readings_bytes
    )
    await _ensure(
        js, names.windows_stream(shard), names.windows_subject(shard), retention, retention.windows_bytes
    )
    await _ensure(
        js, names.events_stream(shard), names.events_subject(shard), retention, retention.events_bytes
    )
    await _ensure(js, names.CHECKPOINT_STREAM, "gw.checkpoints.*", Retention(max_age_s=0), -1)


async def _ensure(
    js: JetStreamContext, name: str, subject: str, retention: Retention, max_bytes: int
) -> None:
    with contextlib.suppress(nats.js.errors.NotFoundError):
        await js.stream_info(name)
        return
    while True:
        config = StreamConfig(
            name=name,
            subjects=[subject],
            storage=StorageType.FILE,
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.OLD,
            max_age=retention.max_age_s,
            max_bytes=max_bytes,
            max_msgs_per_subject=CHECKPOINT_MESSAGES if name == names.CHECKPOINT_STREAM else -1,
            allow_direct=True,
        )
        try:
            await js.add_stream(config)
        except nats.js.errors.APIError as error:
            if error.err_code == NAME_IN_USE:
                return
            if error.err_code != INSUFFICIENT_STORAGE or max_bytes < 2 * MIN_BYTES:
                raise
            max_bytes //= 2  # the server reserves what streams may grow to: a small disk gets less history
        else:
            log.info("stream_made", stream=name, max_bytes=max_bytes, max_age_s=retention.max_age_s)
            return


async def generation_of(js: JetStreamContext, shard: int) -> int:
    """Return the shard's generation in the settings bucket; 0 if none is written there."""
    try:
        bucket = await js.key_value(names.SETTINGS_BUCKET)
        entry = await bucket.get(f"generation.{shard}")
    except nats.js.errors.NotFoundError:  # no bucket, or no key
        return 0
    return int(entry.value or b"0")


async def put_generation(js: JetStreamContext, shard: int, generation: int) -> None:
    """Write the shard's generation to the settings bucket, which is made if missing."""
    try:
        bucket = await js.key_value(names.SETTINGS_BUCKET)
    except nats.js.errors.NotFoundError:
        bucket = await js.create_key_value(bucket=names.SETTINGS_BUCKET)
    await bucket.put(f"generation.{shard}", str(generation).encode())
