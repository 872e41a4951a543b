"""The SQL schema of what people do."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

METADATA: Final = MetaData()

# SQLite numbers rows by itself only for INTEGER.
_ROW_ID: Final = BigInteger().with_variant(Integer, "sqlite")

TOKENS: Final = Table(
    "tokens",
    METADATA,
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("name", String(63), nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),  # hexadecimal
    Column("created_unix_ns", BigInteger, nullable=False),
)

AUDIT: Final = Table(
    "audit",
    METADATA,
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("at_unix_ns", BigInteger, nullable=False),
    Column("principal_id", String(64), nullable=False),
    Column("principal_name", String(63), nullable=False),  # as it was then
    Column("action", String(63), nullable=False),
    Column("target", String(255), nullable=False),
    Column("outcome", Integer, nullable=False),  # HTTP status
    Column("detail", JSON, nullable=False),
    Index("audit_target", "target", "at_unix_ns"),
)

IDEMPOTENCY: Final = Table(
    "idempotency",
    METADATA,
    Column("token_id", _ROW_ID, ForeignKey("tokens.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("begun_unix_ns", BigInteger, nullable=False),
    Column("status", Integer),  # this and what follows: null until it is answered
    Column("headers", JSON),
    Column("body", LargeBinary),
    Index("idempotency_begun", "begun_unix_ns"),
)
