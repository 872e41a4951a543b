"""Asks every shard's worker for its audit counters."""

from __future__ import annotations

import asyncio
from typing import Final

import nats.errors
import structlog
from nats.aio.client import Client
from pydantic import ValidationError

from control_plane.model import AuditUnavailableError
from wire.names import audit_subject
from wire.status import ShardAudit

log = structlog.get_logger(__name__)

TIMEOUT_S: Final = 3.0


async def audit_of_shards(client: Client, shards: int) -> list[ShardAudit]:
    """Return the counters of every shard. Raises AuditUnavailableError if any does not answer."""
    answers = await asyncio.gather(*(_ask(client, shard) for shard in range(shards)))
    audits = [answer for answer in answers if answer is not None]
    if len(audits) < shards:
        raise AuditUnavailableError(set(range(shards)) - {audit.shard for audit in audits})
    return audits


async def _ask(client: Client, shard: int) -> ShardAudit | None:
    try:
        message = await client.request(audit_subject(shard), timeout=TIMEOUT_S)
        return ShardAudit.model_validate_json(message.data)
    except (nats.errors.Error, TimeoutError, ValidationError) as error:
        log.info("audit_not_answered", shard=shard, reason=f"{type(error).__name__}: {error}")
        return None
