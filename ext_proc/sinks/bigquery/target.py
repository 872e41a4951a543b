"""The BigQuery sink: rows of the journal into the tables of a dataset."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import google.auth
import grpc
from google.auth.credentials import AnonymousCredentials, Credentials
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1.services.big_query_write import BigQueryWriteAsyncClient
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import (
    BigQueryWriteGrpcAsyncIOTransport,
)

from ext_proc.sinks.bigquery.config import BigQueryTarget
from ext_proc.sinks.bigquery.pending import Delivery
from ext_proc.sinks.bigquery.provision import Provisioner, told_as_sink_errors
from ext_proc.sinks.bigquery.rows import chosen_rows, parts
from ext_proc.sinks.bigquery.writer import TableWriter, WriterLimits
from ext_proc.sinks.model import BatchLimits, Chunk, Delivered, Kind, Position

REST_TIMEOUT_S = 20.0
_REMEMBERED = 10_000  # records of a shard and kind; a batch holds far fewer
SCOPES = ("https://www.googleapis.com/auth/bigquery",)
_CHANNEL_OPTIONS = [
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]


@dataclass(slots=True)
class _Progress:
    """Which of a shard's records of one kind were handed to the writer, and what became of the last.

    Records are known by their whole position: after the journal lost its end,
    other records have the sequences of those that were lost.
    """

    handed: dict[Position, None] = field(default_factory=dict)  # the newest, in order
    open: list[Delivery] = field(default_factory=list)

    def note(self, chunks: Sequence[Chunk]) -> None:
        """Remember that `chunks` were handed over."""
        self.handed.update(dict.fromkeys(chunk.position for chunk in chunks))
        for position in list(self.handed)[:-_REMEMBERED]:
            del self.handed[position]


class BigQuerySink:
    """Delivers to one dataset.

    Within the life of a process every row is written once, however often its
    record is delivered: what was handed to the writer once is seen through
    there (the newest 10,000 records of each shard and kind are remembered).
    After a crash the records since the last cursor come again, and their rows
    are in the tables twice, with the same key.
    """

    limits = BatchLimits()

    def __init__(
        self,
        config: BigQueryTarget,
        writer_limits: WriterLimits | None = None,
        rest_timeout_s: float = REST_TIMEOUT_S,
    ) -> None:
        self._config = config
        self._rest_timeout_s = rest_timeout_s
        self._writer_limits = writer_limits
        self._rest: bigquery.Client | None = None
        self._storage: BigQueryWriteAsyncClient | None = None
        self._writers: dict[Kind, TableWriter] = {}
        self._progress: dict[tuple[Kind, int], _Progress] = {}
        self.kinds: tuple[Kind, ...] = (
            *(("readings",) if config.readings else ()),
            *(("windows",) if config.window_sizes_ms else ()),
        )

    @property
    def name(self) -> str:
        """`bigquery:project.dataset`."""
        return f"bigquery:{self._config.project}.{self._config.dataset}"

    async def start(self) -> None:
        """Connect, and bring the tables up to date.

        Raises RetryableSinkError or TerminalSinkError.
        """
        if self._storage is None:
            credentials, self._rest = await asyncio.to_thread(self._connect)
            self._storage = self._storage_client(credentials)
        await self._ensure(*self.kinds)
        for kind in self.kinds:
            if kind not in self._writers:
                self._writers[kind] = self._writer(kind, self._storage)

    async def deliver(self, chunks: Sequence[Chunk]) -> Delivered:
        """Write the rows of `chunks`, and return when they are in the table.

        Raises RetryableSinkError or TerminalSinkError.
        """
        kind, shard = chunks[0].kind, chunks[0].shard
        writer = self._writers[kind]
        progress = self._progress.setdefault((kind, shard), _Progress())
        fresh = [chunk for chunk in chunks if chunk.position not in progress.handed]
        if fresh:
            rows = chosen_rows(fresh, self._config.window_sizes_ms)
            progress.open.append(writer.submit(parts(rows)))
            progress.note(fresh)
        for delivery in progress.open:
            await writer.settle(delivery)
        settled, progress.open = progress.open, []
        return Delivered(
            rows=sum(delivery.rows for delivery in settled),
            dead=tuple(row for delivery in settled for row in delivery.dead),
        )

    async def close(self) -> None:
        """End the connections."""
        for writer in self._writers.values():
            await writer.close()
        self._writers.clear()
        if self._storage is not None:
            await self._storage.transport.close()
            self._storage = None
        if self._rest is not None:
            await asyncio.to_thread(self._rest.close)
            self._rest = None

    def _writer(self, kind: Kind, storage: BigQueryWriteAsyncClient) -> TableWriter:
        table = f"projects/{self._config.project}/datasets/{self._config.dataset}/tables/{kind}"
        return TableWriter(storage, table, kind, lambda: self._ensure(kind), self._writer_limits)

    async def _ensure(self, *kinds: Kind) -> None:
        assert self._rest is not None
        config = self._config
        provisioner = Provisioner(self._rest, config.project, config.dataset, self._rest_timeout_s)
        await asyncio.to_thread(provisioner.ensure, kinds)

    def _connect(self) -> tuple[Credentials, bigquery.Client]:
        """Find credentials and make the REST client; blocks."""
        endpoint = self._config.rest_endpoint
        if endpoint is not None:
            credentials: Credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
            options = {"api_endpoint": endpoint}
            return credentials, bigquery.Client(self._config.project, credentials, client_options=options)
        with told_as_sink_errors(self.name):
            credentials, _project = google.auth.default(scopes=SCOPES)
            return credentials, bigquery.Client(self._config.project, credentials)

    def _storage_client(self, credentials: Credentials) -> BigQueryWriteAsyncClient:
        endpoint = self._config.grpc_endpoint
        if endpoint is not None:
            channel = grpc.aio.insecure_channel(endpoint, options=_CHANNEL_OPTIONS)
        else:
            channel = BigQueryWriteGrpcAsyncIOTransport.create_channel(
                credentials=credentials, scopes=SCOPES, options=_CHANNEL_OPTIONS
            )
        return BigQueryWriteAsyncClient(transport=BigQueryWriteGrpcAsyncIOTransport(channel=channel))
