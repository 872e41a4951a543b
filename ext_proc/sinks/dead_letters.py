"""Rows that the other side will never take, in a stream where they can be looked at.

One JSON document each: sink, kind, shard, reason, at_unix_ns, row (its public
columns, times in Unix nanoseconds).
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from typing import Final

import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StreamConfig

from ext_proc.journal.streams import DAY_S, NAME_IN_USE
from ext_proc.sinks.model import DeadRow, Kind
from wire.names import DEAD_LETTERS_STREAM, dead_letters_subject

MAX_AGE_S: Final = 30 * DAY_S
MAX_LETTERS: Final = 200_000  # of all sinks; not bytes, which the server would reserve and may lack
MESSAGE_ID_HEADER: Final = "Nats-Msg-Id"


class DeadLetters:
    """The dead letters of one sink."""

    def __init__(self, js: JetStreamContext, sink: str) -> None:
        self._js = js
        self._sink = sink
        self._made = False

    async def put(self, kind: Kind, shard: int, rows: Sequence[DeadRow]) -> None:
        """Store `rows`; returns when they are on disk. Raises nats errors.

        One that is stored again within minutes (because the call failed half
        way) is stored once.
        """
        if rows and not self._made:
            await self._make_stream()
            self._made = True
        for dead in rows:
            row = {name: _json(value) for name, value in dead.row.items()}
            told = {"sink": self._sink, "kind": kind, "shard": shard, "reason": dead.reason, "row": row}
            mark = hashlib.sha256(json.dumps(told, default=str, sort_keys=True).encode()).hexdigest()[:32]
            body = json.dumps({**told, "at_unix_ns": time.time_ns()}, default=str).encode()
            await self._js.publish(dead_letters_subject(self._sink), body, headers={MESSAGE_ID_HEADER: mark})

    async def _make_stream(self) -> None:
        config = StreamConfig(
            name=DEAD_LETTERS_STREAM,
            subjects=[dead_letters_subject("*")],
            max_age=MAX_AGE_S,
            max_msgs=MAX_LETTERS,
            discard=DiscardPolicy.OLD,
        )
        try:
            await self._js.stream_info(DEAD_LETTERS_STREAM)
        except nats.js.errors.NotFoundError:
            try:
                await self._js.add_stream(config)
            except nats.js.errors.APIError as error:
                if error.err_code != NAME_IN_USE:
                    raise


def _json(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
