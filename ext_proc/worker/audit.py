"""Audit counters of an open shard, on request over NATS core."""

from __future__ import annotations

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from ext_proc.journal.append import sentence
from ext_proc.journal.shard import ShardJournal
from wire.names import audit_subject

log = structlog.get_logger(__name__)


class AuditResponder:
    """Answers wire.names.audit_subject with wire.status.ShardAudit within its context."""

    def __init__(self, client: Client, journal: ShardJournal) -> None:
        self._client = client
        self._journal = journal

    async def __aenter__(self) -> None:
        subject = audit_subject(self._journal.shard)
        self._subscription = await self._client.subscribe(subject, cb=self._answer)

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._subscription.unsubscribe()
        except nats.errors.Error as error:  # the connection is gone, and the subscription with it
            log.info("audit_not_unsubscribed", shard=self._journal.shard, reason=sentence(error))

    async def _answer(self, request: Msg) -> None:
        await request.respond(self._journal.audit().model_dump_json().encode())
