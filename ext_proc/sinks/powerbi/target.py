"""Window rows into a Power BI push semantic model.

Rows arrive at least once: a POST whose answer was lost is sent again, and the
service has no keys by which it could tell. A row of the journal is delivered,
left out because its window size is not wanted, or given up because the
service's limits leave no room (powerbi.preference); those are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from ext_proc.sinks.errors import TerminalSinkError
from ext_proc.sinks.model import BatchLimits, Chunk, DeadRow, Delivered, Kind, Position
from ext_proc.sinks.powerbi.budget import Budget
from ext_proc.sinks.powerbi.client import PowerBiClient
from ext_proc.sinks.powerbi.config import PowerBiTarget
from ext_proc.sinks.powerbi.outbox import NS, Clock, Outbox, Parcel, SystemClock
from ext_proc.sinks.powerbi.preference import Room, keep
from ext_proc.sinks.powerbi.rows import MAX_STRING_CHARACTERS, definition, too_long
from ext_proc.sinks.powerbi.tokens import Tokens
from ext_proc.sinks.tables import json_rows, public_rows

log = structlog.get_logger(__name__)

_LIMITS: Final = BatchLimits(rows=50_000, age_s=0.2)  # many windows of a series, so that there is a choice
_TOO_LONG: Final = f"a text of more than {MAX_STRING_CHARACTERS} characters"


@dataclass(frozen=True, slots=True)
class _Batch:
    """A shard's batch, once it was decided what becomes of its rows."""

    first: Position
    last: Position
    parcel: Parcel
    dead: tuple[DeadRow, ...]
    given_up: int

    def same(self, chunks: Sequence[Chunk]) -> bool:
        return (self.first, self.last) == (chunks[0].position, chunks[-1].position)


class PowerBiSink:
    """The target `powerbi` (ext_proc.sinks.model.Target)."""

    name = "powerbi"
    kinds: tuple[Kind, ...] = ("windows",)
    limits = _LIMITS

    def __init__(self, config: PowerBiTarget, clock: Clock | None = None) -> None:
        self._config = config
        self._clock: Clock = clock or SystemClock()
        self._http: aiohttp.ClientSession | None = None
        self._client: PowerBiClient | None = None
        self._dataset: str | None = None
        self._batches: dict[int, _Batch] = {}
        budget = Budget(config.limits(), self._clock.monotonic_ns())
        self._outbox = Outbox(budget, self._clock, self._post)

    async def start(self) -> None:
        """Look for the dataset; create it if it has a name only and is not there.

        Raises RetryableSinkError and TerminalSinkError.
        """
        client, config = self._connect(), self._config
        self._dataset = await client.find_dataset(config.dataset, config.dataset_name)
        if self._dataset is not None:
            return
        if config.dataset_name is None:
            raise TerminalSinkError(
                f"workspace {config.workspace} shows no dataset {config.dataset} to the service principal"
                f" {config.client_id}: check the id in the configuration, or give dataset_name to create one"
            )
        self._dataset = await client.create_dataset(definition(config.dataset_name, config.table))
        log.info("dataset_created", dataset=self._dataset, name=config.dataset_name)

    async def deliver(self, chunks: Sequence[Chunk]) -> Delivered:
        """Post the windows of one shard; returns when each row was posted, given up or found dead.

        After an error the same batch goes on behind the rows that were accepted.
        Raises RetryableSinkError and TerminalSinkError.
        """
        shard = chunks[0].shard
        batch = self._batches.get(shard)
        if batch is None or not batch.same(chunks):
            batch = self._batches[shard] = self._decide(chunks)
        await self._outbox.send(batch.parcel)
        del self._batches[shard]
        return Delivered(batch.parcel.sent, batch.dead, batch.given_up)

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    def _connect(self) -> PowerBiClient:
        if self._http is None or self._client is None:
            timeout = aiohttp.ClientTimeout(total=self._config.timeout_s)
            self._http = aiohttp.ClientSession(timeout=timeout)
            tokens = Tokens(self._config, self._http, self._now_s, self._unix_s)
            self._client = PowerBiClient(self._config, self._http, tokens, self._unix_s)
        return self._client

    async def _post(self, body: bytes) -> None:
        if self._dataset is None:
            await self.start()
        assert self._dataset is not None
        try:
            await self._connect().post_rows(self._dataset, self._config.table, body)
        except TerminalSinkError:
            self._dataset = None  # look again: it may have been made anew
            raise

    def _decide(self, chunks: Sequence[Chunk]) -> _Batch:
        rows = public_rows(chunks)
        sizes = pa.array(self._config.window_sizes_ms, pa.int64())
        wanted = rows.filter(pc.is_in(rows.column("size_ms"), sizes))
        refused = too_long(wanted)
        dead = tuple(DeadRow(row, _TOO_LONG) for row in json_rows(wanted.filter(pa.array(refused))))
        sendable = wanted.filter(pa.array(~refused))
        stale_before = self._clock.unix_ns() - int(self._config.stale_after_s * NS)
        kept = keep(sendable, Room(self._outbox.room(), stale_before))
        given_up = int(np.count_nonzero(~kept))
        parcel = Parcel(sendable.filter(pa.array(kept)))
        return _Batch(chunks[0].position, chunks[-1].position, parcel, dead, given_up)

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / NS

    def _unix_s(self) -> float:
        return self._clock.unix_ns() / NS
