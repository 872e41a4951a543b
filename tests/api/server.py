"""A served API over the fleet in memory and the real SQL repository."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry

from control_plane.api.app import make_app
from control_plane.api.ports import Info
from control_plane.store.accounts import SqlAccounts, sqlite_accounts
from tests.api.fleet import SHARDS, MemoryFleet

PRESS: dict[str, Any] = {
    "id": "press-1",
    "host": "lab",
    "site": "hall-3",
    "metrics": [{"name": "temperature", "unit": "[degF]"}],
    "source": {"kind": "replay", "recording": "machine_temperature", "speed": 300.0},
}


@dataclass
class MemoryHistory:
    """Windows of the past: a sawtooth, one window for each whole step of the size."""

    asked: list[dict[str, object]] = field(default_factory=list)

    async def windows(
        self,
        sensor_id: str,
        metric: str,
        size_ms: int,
        *,
        since_unix_ns: int,
        until_unix_ns: int,
        limit: int,
    ) -> list[dict[str, object]]:
        """See control_plane.api.ports.History."""
        self.asked.append(
            {"size_ms": size_ms, "since": since_unix_ns, "until": until_unix_ns, "limit": limit}
        )
        size_ns = size_ms * 1_000_000
        starts = range(-(-since_unix_ns // size_ns) * size_ns, until_unix_ns - size_ns + 1, size_ns)
        return [self._row(sensor_id, metric, size_ms, start) for start in starts[-limit:]]

    @staticmethod
    def _row(sensor_id: str, metric: str, size_ms: int, start_unix_ns: int) -> dict[str, object]:
        start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=start_unix_ns // 1000)
        mean = 20.0 + start_unix_ns // (size_ms * 1_000_000) % 10
        return {
            "sensor_id": sensor_id,
            "site": "hall-3",
            "metric": metric,
            "unit": "[degF]",
            "size_ms": size_ms,
            "revision": 1,
            "count": 10,
            "stddev": None,
            "shard": 0,
            "window_start": start,
            "window_end": start + timedelta(milliseconds=size_ms),
            "min": mean - 2,
            "max": mean + 2,
            "sum": 10 * mean,
            "mean": mean,
            "first": mean,
            "first_time": start,
            "last": mean,
            "last_time": start,
            "p50": mean,
            "p95": mean + 1,
            "p99": mean + 1,
        }


@dataclass
class Api:
    """A served API and what is behind it."""

    url: str
    token: str
    session: aiohttp.ClientSession
    fleet: MemoryFleet
    accounts: SqlAccounts
    history: MemoryHistory | None
    missing: list[str]
    runner: web.AppRunner

    async def call(self, method: str, path: str, **options: Any) -> tuple[aiohttp.ClientResponse, Any]:
        """Send a request with the token; return the response and its JSON (None without)."""
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        headers = {name: value for name, value in headers.items() if value is not None}
        async with self.session.request(method, self.url + path, headers=headers, **options) as response:
            is_json = response.content_type.endswith("json") and method != "HEAD"
            return response, (await response.json(content_type=None) if is_json else None)


@contextlib.asynccontextmanager
async def serving(
    folder: Path, *, history: bool = True, hosts: Iterable[str] = ("lab",), port: int = 0
) -> AsyncIterator[Api]:
    """Return a served API with its token, accounts in `folder`."""
    fleet = MemoryFleet(hosts)
    past = MemoryHistory() if history else None
    token_file = folder / "token"
    missing: list[str] = []
    info = Info("0.1.0", SHARDS, {"nats_url": "nats://127.0.0.1:4222"}, str(token_file), lambda: missing)
    async with sqlite_accounts(folder / "control.db") as accounts, aiohttp.ClientSession() as session:
        await accounts.ensure_operator(token_file)
        app = make_app(fleet, accounts, past, CollectorRegistry(), info)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        url = "http://{}:{}".format(*runner.addresses[0][:2])
        token = token_file.read_text().strip()
        try:
            yield Api(url, token, session, fleet, accounts, past, missing, runner)
        finally:
            await runner.cleanup()
