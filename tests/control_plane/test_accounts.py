"""Tokens, audit rows and idempotency keys in a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from control_plane.api.ports import Answer, AuditEntry, Begun, IdempotencyKey, KeyReusedError, Principal
from control_plane.store.accounts import KEY_LIFE_NS, OPERATOR, SqlAccounts, sqlite_accounts
from control_plane.store.token import read_token, token_hash

ANSWER = Answer(201, {"ETag": '"7"'}, b'{"id":"press-1"}')


class Clock:
    """Unix nanoseconds that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000_000_000_000_000_000

    def __call__(self) -> int:
        """Return them."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock at some time."""
    return Clock()


@pytest_asyncio.fixture
async def accounts(tmp_path: Path, clock: Clock) -> AsyncIterator[SqlAccounts]:
    """A repository with the operator's token in tmp_path/token."""
    async with sqlite_accounts(tmp_path / "control.db", clock) as repository:
        await repository.ensure_operator(tmp_path / "token")
        yield repository


def contents(folder: Path, pattern: str) -> bytes:
    """Return what the files hold."""
    return b"".join(each.read_bytes() for each in sorted(folder.glob(pattern)))


async def operator(accounts: SqlAccounts, folder: Path) -> Principal:
    """Return who the token in the folder belongs to."""
    token = read_token(folder / "token")
    assert token is not None
    principal = await accounts.authenticate(token)
    assert principal is not None
    return principal


def entry(principal: Principal) -> AuditEntry:
    """Return what somebody did."""
    return AuditEntry(principal, "sensor.add", "press-1", 201, {"host": "lab"})


async def test_the_token_is_for_its_owner_and_kept_as_a_hash(accounts: SqlAccounts, tmp_path: Path) -> None:
    """The file has mode 0600; the database does not hold the token."""
    file = tmp_path / "token"
    assert file.stat().st_mode & 0o777 == 0o600
    token = read_token(file)
    assert token is not None
    assert (await operator(accounts, tmp_path)).name == OPERATOR
    assert await accounts.authenticate(token + "x") is None
    kept = await asyncio.to_thread(contents, tmp_path, "control.db*")
    assert token.encode() not in kept
    assert token_hash(token).encode() in kept


async def test_the_token_stays_and_a_lost_one_is_replaced(accounts: SqlAccounts, tmp_path: Path) -> None:
    """A second start changes nothing; without the file there is a new token, and the old one ends."""
    file = tmp_path / "token"
    first = read_token(file)
    await accounts.ensure_operator(file)
    assert read_token(file) == first
    file.unlink()
    await accounts.ensure_operator(file)
    second = read_token(file)
    assert first is not None
    assert second not in {None, first}
    assert await accounts.authenticate(first) is None
    file.write_text("made up\n")
    await accounts.ensure_operator(file)
    assert read_token(file) != "made up"


async def test_the_token_of_a_file_that_is_shared_is_taken(accounts: SqlAccounts, tmp_path: Path) -> None:
    """Replicas have one token, whoever of them made it; without a file there is a new one."""
    file = tmp_path / "token"
    first = read_token(file)
    assert first is not None
    file.write_text("made by another replica\n")
    await accounts.ensure_operator(file, shared=True)
    assert read_token(file) == "made by another replica"
    assert (await operator(accounts, tmp_path)).name == OPERATOR
    assert await accounts.authenticate(first) is None
    file.unlink()
    await accounts.ensure_operator(file, shared=True)
    assert (await operator(accounts, tmp_path)).name == OPERATOR


async def test_a_repeated_request_gets_its_answer(accounts: SqlAccounts, tmp_path: Path) -> None:
    """Noted, then answered: the same answer again, with one audit row."""
    principal = await operator(accounts, tmp_path)
    key = IdempotencyKey(principal, "k-1", "f" * 64)
    assert await accounts.begin(key) == Begun(again=False)
    assert await accounts.begin(key) == Begun(again=True)
    await accounts.complete(key, ANSWER, entry(principal))
    assert await accounts.begin(key) == ANSWER
    assert await accounts.audit_rows("press-1") == [entry(principal)]


async def test_a_key_belongs_to_one_request(accounts: SqlAccounts, tmp_path: Path, clock: Clock) -> None:
    """Another request is refused; after a day the key is free."""
    principal = await operator(accounts, tmp_path)
    await accounts.begin(IdempotencyKey(principal, "k-1", "a" * 64))
    with pytest.raises(KeyReusedError):
        await accounts.begin(IdempotencyKey(principal, "k-1", "b" * 64))
    clock.now += KEY_LIFE_NS + 1
    assert await accounts.begin(IdempotencyKey(principal, "k-1", "b" * 64)) == Begun(again=False)


async def test_a_failure_keeps_neither_answer_nor_audit(accounts: SqlAccounts, tmp_path: Path) -> None:
    """Both are in one transaction."""
    principal = await operator(accounts, tmp_path)
    key = IdempotencyKey(principal, "k-1", "a" * 64)
    await accounts.begin(key)
    broken = AuditEntry(principal, "sensor.add", "press-1", 201, {"what": object()})
    with pytest.raises(Exception, match="not JSON serializable"):
        await accounts.complete(key, ANSWER, broken)
    assert await accounts.begin(key) == Begun(again=True)
    assert await accounts.audit_rows("press-1") == []


async def test_of_many_that_begin_one_is_first(accounts: SqlAccounts, tmp_path: Path) -> None:
    """However they meet."""
    key = IdempotencyKey(await operator(accounts, tmp_path), "k-1", "a" * 64)
    begun = await asyncio.gather(*(accounts.begin(key) for _ in range(12)))
    assert sorted(each.again for each in begun if isinstance(each, Begun)) == [False] + [True] * 11


async def test_audit_rows_outlive_the_process(accounts: SqlAccounts, tmp_path: Path) -> None:
    """They are in the file."""
    principal = await operator(accounts, tmp_path)
    await accounts.record(entry(principal))
    async with sqlite_accounts(tmp_path / "control.db") as again:
        assert await again.audit_rows("press-1") == [entry(principal)]
