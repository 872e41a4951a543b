"""The lab's client when the host is away, or is something else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from hyperv.errors import HostError, RetryableHostError, TerminalHostError
from hyperv.lab import client as client_module
from hyperv.lab.client import LabClient
from tests.hyperv.support import replay_spec


@asynccontextmanager
async def host(answer: bytes | None) -> AsyncIterator[LabClient]:
    """Return the client of a host that gives every request the same answer; none: it says nothing."""
    served: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    client = LabClient("lab", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        yield client
    finally:
        await client.close()
        server.close()
        await asyncio.wait_for(asyncio.gather(*served), 10)


def answer(status: int, body: str) -> bytes:
    """Return an HTTP response."""
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()


async def every_call(client: LabClient, kind: type[HostError], match: str) -> None:
    """Check that every method raises `kind`."""
    for call in (
        client.inventory(),
        client.ensure(replay_spec()),
        client.remove("press-1"),
        client.wait_change(0, 0.1),
    ):
        with pytest.raises(kind, match=match) as raised:
            await call
        assert raised.value.host_id == "lab"


async def test_a_host_that_is_away_can_be_asked_again() -> None:
    """Nobody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    client = LabClient("lab", f"http://127.0.0.1:{port}")
    await every_call(client, RetryableHostError, f"http://127.0.0.1:{port}: Cannot connect")
    await client.close()


async def test_a_host_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call has a deadline."""
    monkeypatch.setattr(client_module, "_TIMEOUT_S", 0.1)
    async with host(None) as client:
        with pytest.raises(RetryableHostError, match="no answer in time"):
            await client.wait_change(0, 0.05)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "Server disconnected"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "payload is not completed"),
    ],
)
async def test_a_connection_that_breaks_off_is_retryable(said: bytes, reason: str) -> None:
    """Before or in the middle of the answer."""
    async with host(said) as client:
        await every_call(client, RetryableHostError, reason)


async def test_errors_of_the_host_are_retryable_and_refusals_terminal() -> None:
    """With the host's own reason, or none if it gives none."""
    async with host(answer(500, "oops")) as client:
        await every_call(client, RetryableHostError, "answered 500")
    async with host(answer(507, '{"detail": "no room"}')) as client:
        await every_call(client, RetryableHostError, "answered 507: no room")
    async with host(answer(404, "404: Not Found")) as client:
        await every_call(client, TerminalHostError, "answered 404")
    async with host(answer(422, '{"detail": "too small"}')) as client:
        await every_call(client, TerminalHostError, "too small")


@pytest.mark.parametrize("body", ["<html>", "[]", "null"])
async def test_something_else_than_a_lab_host_is_retryable(body: str) -> None:
    """A wrong URL may be put right."""
    async with host(answer(200, body)) as client:
        await every_call(client, RetryableHostError, "something else")


async def test_a_state_that_cannot_be_read_is_retryable() -> None:
    """As after an upgrade of the host alone."""
    async with host(answer(200, '{"vms": [{}]}')) as client:
        with pytest.raises(RetryableHostError, match="cannot be read"):
            await client.inventory()
