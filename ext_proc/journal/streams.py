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
MIN_BYTES: Final = 8 << 20
CUT: Final = 8  # what does not fit is cut so much: the rest is for streams that come after
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

    The server reserves what streams may grow to, so a small disk gets less history; what cuts the
    readings short cuts the windows and events as much, for their rows are as old.

    Raises nats errors if JetStream cannot be reached or refuses.
    """
    cut = 1
    for name, subject, wanted in (
        (names.readings_stream(shard), names.readings_subject(shard), retention.readings_bytes),
        (names.windows_stream(shard), names.windows_subject(shard), retention.windows_bytes),
        (names.events_stream(shard), names.events_subject(shard), retention.events_bytes),
    ):
        cut = await _ensure_cut(js, _stream(name, subject, retention.max_age_s), wanted, cut)
    checkpoints = _stream(names.CHECKPOINT_STREAM, "gw.checkpoints.*", 0)
    checkpoints.max_msgs_per_subject = CHECKPOINT_MESSAGES
    await _ensure(js, checkpoints)


def _stream(name: str, subject: str, max_age_s: float) -> StreamConfig:
    return StreamConfig(
        name=name,
        subjects=[subject],
        storage=StorageType.FILE,
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.OLD,
        max_age=max_age_s,
        max_bytes=-1,
        max_msgs_per_subject=-1,
        allow_direct=True,
    )


async def _ensure_cut(js: JetStreamContext, config: StreamConfig, wanted: int, cut: int) -> int:
    """Make a stream of wanted / `cut` bytes, of less if there is no room; return how much it was cut."""
    while True:
        config.max_bytes = max(wanted // cut, min(wanted, MIN_BYTES))
        try:
            await _ensure(js, config)
        except nats.js.errors.APIError as error:
            if error.err_code != INSUFFICIENT_STORAGE or config.max_bytes <= MIN_BYTES:
                raise
            cut *= CUT
        else:
            return cut


async def _ensure(js: JetStreamContext, config: StreamConfig) -> None:
    with contextlib.suppress(nats.js.errors.NotFoundError):
        await js.stream_info(str(config.name))
        return
    try:
        await js.add_stream(config)
    except nats.js.errors.APIError as error:
        if error.err_code != NAME_IN_USE:
            raise
    else:
        log.info("stream_made", stream=config.name, max_bytes=config.max_bytes, max_age_s=config.max_age)


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
