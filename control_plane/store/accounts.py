"""What people do, in SQL: tokens, audit rows, idempotency keys (control_plane.api.ports.Accounts).

SQLAlchemy Core, so that one machine has SQLite and replicas share PostgreSQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import ColumnElement, and_, delete, event, insert, select, update
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from control_plane.api.ports import Answer, AuditEntry, Begun, IdempotencyKey, KeyReusedError, Principal
from control_plane.store.tables import AUDIT, IDEMPOTENCY, METADATA, TOKENS
from control_plane.store.token import new_token, read_token, token_hash, write_token

log = structlog.get_logger(__name__)

OPERATOR: Final = "operator"
KEY_LIFE_NS: Final = 24 * 3_600 * 1_000_000_000


class SqlAccounts:
    """The repository over one database. `now` returns Unix nanoseconds."""

    def __init__(self, engine: AsyncEngine, now: Callable[[], int] = time.time_ns) -> None:
        self._engine = engine
        self._now = now

    async def ensure_operator(self, token_file: Path, *, shared: bool = False) -> None:
        """Have the token in `token_file` be the operator's; older ones end.

        A file that is missing, or holds what was never issued here, gets a new
        token: only the hashes of older ones are known. If the file is `shared`
        with other control planes, the token in it is taken.
        """
        token = await asyncio.to_thread(read_token, token_file)
        if token is not None and await self.authenticate(token) is not None:
            return
        given = token is not None and shared
        if token is None or not shared:
            token = new_token()
            await asyncio.to_thread(write_token, token_file, token)
        async with self._engine.begin() as connection:
            await connection.execute(delete(TOKENS).where(TOKENS.c.name == OPERATOR))
            row = {"name": OPERATOR, "sha256": token_hash(token), "created_unix_ns": self._now()}
            await connection.execute(insert(TOKENS).values(row))
        log.info("token_taken" if given else "token_issued", file=str(token_file))

    async def authenticate(self, token: str) -> Principal | None:
        """See Accounts."""
        query = select(TOKENS.c.id, TOKENS.c.name).where(TOKENS.c.sha256 == token_hash(token))
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else Principal(str(row.id), row.name)

    async def record(self, entry: AuditEntry) -> None:
        """See Accounts."""
        async with self._engine.begin() as connection:
            await self._insert_audit(connection, entry)

    async def begin(self, key: IdempotencyKey) -> Begun | Answer:
        """See Accounts."""
        try:
            return await self._begin(key)
        except IntegrityError:  # another replica noted the key in between
            return await self._begin(key)

    async def complete(self, key: IdempotencyKey, answer: Answer, entry: AuditEntry) -> None:
        """See Accounts."""
        kept = {"status": answer.status, "headers": dict(answer.headers), "body": answer.body}
        async with self._engine.begin() as connection:
            await connection.execute(update(IDEMPOTENCY).where(_is(key)).values(kept))
            await self._insert_audit(connection, entry)

    async def audit_rows(self, target: str) -> list[AuditEntry]:
        """Return what was done to `target`, oldest first."""
        query = select(AUDIT).where(AUDIT.c.target == target).order_by(AUDIT.c.id)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [
            AuditEntry(
                Principal(row.principal_id, row.principal_name),
                row.action,
                row.target,
                row.outcome,
                row.detail,
            )
            for row in rows
        ]

    async def _begin(self, key: IdempotencyKey) -> Begun | Answer:
        now = self._now()
        async with self._engine.begin() as connection:
            # First a write: in SQLite the transaction then excludes other writers from here on.
            await connection.execute(
                delete(IDEMPOTENCY).where(IDEMPOTENCY.c.begun_unix_ns < now - KEY_LIFE_NS)
            )
            row = (await connection.execute(select(IDEMPOTENCY).where(_is(key)))).one_or_none()
            if row is None:
                noted = {"token_id": int(key.principal.id), "key": key.key, "fingerprint": key.fingerprint}
                await connection.execute(insert(IDEMPOTENCY).values(noted | {"begun_unix_ns": now}))
                return Begun(again=False)
            if row.fingerprint != key.fingerprint:
                raise KeyReusedError(key.key)
            if row.status is None:
                return Begun(again=True)
            return Answer(row.status, row.headers, row.body)

    async def _insert_audit(self, connection: AsyncConnection, entry: AuditEntry) -> None:
        row = {
            "at_unix_ns": self._now(),
            "principal_id": entry.principal.id,
            "principal_name": entry.principal.name,
            "action": entry.action,
            "target": entry.target,
            "outcome": entry.outcome,
            "detail": dict(entry.detail),
        }
        await connection.execute(insert(AUDIT).values(row))


@contextlib.asynccontextmanager
async def sqlite_accounts(file: Path, now: Callable[[], int] = time.time_ns) -> AsyncIterator[SqlAccounts]:
    """Return the repository over a SQLite file, which is made if it is missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(f"sqlite+aiosqlite:///{file}")
    event.listen(engine.sync_engine, "connect", _set_up)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(METADATA.create_all)
        yield SqlAccounts(engine, now)
    finally:
        await engine.dispose()


def _set_up(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    """Have commits be on disk, and readers not wait for writers."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _is(key: IdempotencyKey) -> ColumnElement[bool]:
    return and_(IDEMPOTENCY.c.token_id == int(key.principal.id), IDEMPOTENCY.c.key == key.key)
