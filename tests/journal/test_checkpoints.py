"""Checkpoints on a real NATS server: whole, in parts, and half written."""

from __future__ import annotations

import secrets

import nats.errors
import pytest

from ext_proc.journal import checkpoints
from ext_proc.journal.checkpoints import (
    CheckpointTooLargeError,
    StoredCheckpoint,
    load_checkpoint,
    save_checkpoint,
)
from ext_proc.journal.streams import ensure_streams
from tests.journal.support import SMALL, connected
from tests.support.nats import NatsServer
from wire.gen.gaugeway.journal.v1 import journal_pb2
from wire.journal import SCHEMA_VERSION

PART_BYTES = 100


def stored(through: int, size: int = 350) -> StoredCheckpoint:
    """Return a checkpoint of at least `size` bytes."""
    tables = {"sensors": secrets.token_bytes(size)}
    checkpoint = journal_pb2.Checkpoint(schema=SCHEMA_VERSION, generation=1, through=through, tables=tables)
    return StoredCheckpoint(checkpoint, windows_seq=through // 2)


async def test_the_newest_is_read_back_from_its_parts(nats_server: NatsServer) -> None:
    """However many there are: what is loaded is the newest that was saved."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        await ensure_streams(js, 0, SMALL)
        assert await load_checkpoint(js, 0) is None
        for through, size in ((10, 1), (20, 350), (30, 1000), (40, 20)):
            saved = stored(through, size)
            await save_checkpoint(js, saved, PART_BYTES)
            assert await load_checkpoint(js, 0) == saved


async def test_a_writer_that_dies_between_two_parts_leaves_the_one_before(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the log is folded from its first retained record, and what is older is not counted."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        await ensure_streams(js, 0, SMALL)
        before = stored(10)
        await save_checkpoint(js, before, PART_BYTES)
        publish, left = js.publish, 2

        async def die_at_the_third(*args: object, **options: object) -> object:
            nonlocal left
            if not left:
                raise nats.errors.ConnectionClosedError
            left -= 1
            return await publish(*args, **options)

        monkeypatch.setattr(js, "publish", die_at_the_third)
        with pytest.raises(nats.errors.ConnectionClosedError):
            await save_checkpoint(js, stored(20), PART_BYTES)
        assert await load_checkpoint(js, 0) == before


async def test_one_that_is_too_large_is_refused(nats_server: NatsServer) -> None:
    """It would push its own first parts out of the stream; the one before stays."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        await ensure_streams(js, 0, SMALL)
        before = stored(10, PART_BYTES * (checkpoints.MAX_PARTS - 1))
        await save_checkpoint(js, before, PART_BYTES)
        with pytest.raises(CheckpointTooLargeError):
            await save_checkpoint(js, stored(20, PART_BYTES * checkpoints.MAX_PARTS), PART_BYTES)
        assert await load_checkpoint(js, 0) == before
