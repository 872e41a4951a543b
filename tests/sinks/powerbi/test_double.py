"""The double itself: each published limit, one step within it and one beyond."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.sinks.powerbi.support import S, TurnedClock
from tests.support.powerbi import SCOPE, PowerBiDouble
from tests.support.powerbi_limits import Dataset, RefusalError

COLUMNS = {"n": "Int64", "text": "String", "at": "DateTime", "x": "Double"}


class Caller:
    """A client without manners."""

    def __init__(self, double: PowerBiDouble, http: aiohttp.ClientSession, dataset: Dataset) -> None:
        self.double = double
        self.dataset = dataset
        self._http = http
        self.headers = {"Authorization": "Bearer good"}
        self.base = f"{double.url}/v1.0/myorg/groups/{double.workspace}/datasets"
        double.tokens["good"] = float("inf")

    async def post(self, rows: object, table: str = "t", dataset_id: str | None = None) -> tuple[int, str]:
        """Post rows; return the status and Retry-After."""
        url = f"{self.base}/{dataset_id or self.dataset.dataset_id}/tables/{table}/rows"
        body = rows if isinstance(rows, str) else json.dumps({"rows": rows})
        async with self._http.post(url, data=body, headers=self.headers) as response:
            await response.read()
            return response.status, response.headers.get("Retry-After", "")

    async def create(self, tables: dict[str, int]) -> int:
        """Create a model with tables of so many columns; return the status."""
        body = {
            "name": "m",
            "defaultMode": "Push",
            "tables": [
                {"name": name, "columns": [{"name": f"c{n}", "dataType": "Int64"} for n in range(count)]}
                for name, count in tables.items()
            ],
        }
        async with self._http.post(self.base, json=body, headers=self.headers) as response:
            await response.read()
            return response.status

    def breaches(self) -> list[str]:
        """Return and forget the breaches."""
        found, self.double.breaches = self.double.breaches, []
        return found


@pytest.fixture
async def caller(clock: TurnedClock) -> AsyncIterator[Caller]:
    """A caller of a double with one FIFO model."""
    double = PowerBiDouble(clock.seconds)
    await double.start()
    async with aiohttp.ClientSession() as http:
        yield Caller(double, http, double.add_dataset("m", {"t": COLUMNS}))
    await double.close()


async def test_rows_of_a_post(caller: Caller) -> None:
    """10,000, and not one more."""
    assert await caller.post([{"n": 1}] * 10_000) == (200, "")
    assert caller.breaches() == []
    assert await caller.post([{"n": 1}] * 10_001) == (400, "")
    assert caller.breaches() == ["10001 rows in a POST; the limit is 10000"]


async def test_posts_of_a_minute(caller: Caller, clock: TurnedClock) -> None:
    """120 within any minute; Retry-After says when the next one may come."""
    for _ in range(120):
        assert (await caller.post([]))[0] == 200
        clock.now_ns += S // 4
    assert caller.breaches() == []
    assert await caller.post([]) == (429, "30")
    assert caller.breaches() == ["POST 121 within a minute; the limit is 120"]
    clock.now_ns += 30 * S
    assert await caller.post([]) == (200, "")


async def test_rows_of_an_hour(caller: Caller, clock: TurnedClock) -> None:
    """A million within any hour, whatever became of the rows before."""
    body = json.dumps({"rows": [{"n": 1}] * 10_000})
    for _ in range(100):
        assert (await caller.post(body))[0] == 200
        clock.now_ns += S
    assert caller.breaches() == []
    assert await caller.post([{"n": 1}]) == (429, "3500")
    assert caller.breaches() == ["1000001 rows within an hour; the limit is 1000000"]
    assert caller.dataset.tables["t"].stored == 200_000
    clock.now_ns += 3500 * S
    assert (await caller.post(body))[0] == 200


async def test_a_fifo_table_keeps_the_newest_rows(caller: Caller) -> None:
    """200,000 of them; the oldest ones go."""
    for number in range(21):
        assert (await caller.post([{"n": number}] * 9_999))[0] == 200
    rows = caller.dataset.tables["t"].rows()
    assert len(rows) == 200_000
    assert (rows[0]["n"], rows[-1]["n"]) == (0, 20)
    assert sum(row["n"] == 0 for row in rows) == 200_000 - 20 * 9_999


async def test_a_large_table_without_policy(caller: Caller, clock: TurnedClock) -> None:
    """From 250,000 rows on 120 POSTs within an hour."""
    caller.dataset = caller.double.add_dataset("large", {"t": COLUMNS}, fifo=False)
    caller.dataset.tables["t"].total = 250_000
    caller.dataset.posts.extend([(0.0, 0)] * 119)
    clock.now_ns += 100 * S
    assert (await caller.post([]))[0] == 200
    assert (await caller.post([]))[0] == 429
    assert caller.breaches() == ["POST 121 within an hour to a table of 250000 rows"]
    caller.dataset.posts.clear()
    caller.dataset.tables["t"].total = 5_000_000
    assert (await caller.post([{"n": 1}]))[0] == 400
    assert caller.breaches() == ["over 5000000 rows in a table"]


async def test_pending_posts(caller: Caller) -> None:
    """Five may wait for an answer; the sixth is refused."""
    caller.double.open.clear()
    waiting = [asyncio.create_task(caller.post([{"n": 1}])) for _ in range(5)]
    for _ in waiting:
        await caller.double.held.get()
    assert caller.breaches() == []
    assert (await caller.post([{"n": 1}]))[0] == 429
    assert caller.breaches() == ["6 pending POSTs; the limit is 5"]
    caller.double.open.set()
    assert [status for status, _ in await asyncio.gather(*waiting)] == [200] * 5


async def test_retry_after_must_be_kept(caller: Caller, clock: TurnedClock) -> None:
    """A POST before it is over is a breach."""
    caller.double.scripted.append(RefusalError(429, "Busy", retry_after_s=10))
    assert await caller.post([]) == (429, "10")
    clock.now_ns += 9 * S
    assert await caller.post([]) == (429, "1")
    assert caller.breaches() == ["a POST 1.0 s before Retry-After was over"]
    clock.now_ns += S
    assert await caller.post([]) == (200, "")


async def test_tables_and_columns_of_a_model(caller: Caller) -> None:
    """75 of each."""
    assert await caller.create({"a": 75}) == 201
    assert await caller.create({f"t{n}": 1 for n in range(75)}) == 201
    assert caller.breaches() == []
    assert await caller.create({"a": 76}) == 400
    assert await caller.create({f"t{n}": 1 for n in range(76)}) == 400
    assert caller.breaches() == [
        "76 columns in a; the limit is 75",
        "76 tables in a model; the limit is 75",
    ]


@pytest.mark.parametrize(
    ("row", "status", "breaches"),
    [
        ({"text": "x" * 4_000}, 200, 0),
        ({"text": "x" * 4_001}, 400, 1),
        ({"x": 1}, 200, 0),
        ({"x": float("nan")}, 400, 1),
        ({"x": "1"}, 400, 0),
        ({"n": 1.5}, 400, 0),
        ({"n": True}, 400, 0),
        ({"at": "2026-01-01T00:00:00.000Z"}, 200, 0),
        ({"at": "2026-01-01T00:00:00"}, 400, 0),
        ({"text": None}, 200, 0),
        ({"other": 1}, 400, 0),
    ],
)
async def test_values(caller: Caller, row: dict[str, Any], status: int, breaches: int) -> None:
    """Texts have a limit, numbers are JSON's, and every value is of its column's type."""
    assert (await caller.post([row]))[0] == status
    assert len(caller.breaches()) == breaches


async def test_names_and_tokens(caller: Caller, clock: TurnedClock) -> None:
    """What is not there is 404; a token that is unknown or old is 401."""
    assert (await caller.post([], dataset_id="other"))[0] == 404
    assert (await caller.post([], table="other"))[0] == 404
    caller.double.tokens["good"] = clock.seconds()
    assert (await caller.post([]))[0] == 401
    caller.headers = {}
    assert (await caller.post([]))[0] == 401


@pytest.mark.parametrize("wrong", [None, "grant_type", "client_id", "client_secret", "scope"])
async def test_the_token_service(caller: Caller, wrong: str | None) -> None:
    """A token is given only for the right client, secret and scope."""
    double = caller.double
    form = {
        "grant_type": "client_credentials",
        "client_id": double.client_id,
        "client_secret": double.client_secret,
        "scope": SCOPE,
    }
    if wrong is not None:
        form[wrong] = "wrong"
    async with aiohttp.ClientSession() as http, http.post(double.token_url, data=form) as response:
        assert response.status == (200 if wrong is None else 401)
        assert ("access_token" in await response.json()) == (wrong is None)
