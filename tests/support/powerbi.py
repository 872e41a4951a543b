"""A double of Power BI's push REST API and of the token service, which counts every broken limit.

Limits: "Power BI REST APIs push semantic models limitations" (learn.microsoft.com,
power-bi/developer/embedded/push-datasets-limitations). Where the page gives no
number (the size of a body) there is none unless the test sets one. A limit that
is broken gets the service's answer and a line in `breaches`; a test fails when
there is one that it did not ask for.
"""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from aiohttp import web

MAX_TABLES: Final = 75
MAX_COLUMNS: Final = 75
MAX_ROWS_PER_POST: Final = 10_000
MAX_POSTS_PER_MINUTE: Final = 120
MAX_ROWS_PER_HOUR: Final = 1_000_000
MAX_PENDING_POSTS: Final = 5
MAX_FIFO_ROWS: Final = 200_000
MAX_ROWS_WITHOUT_POLICY: Final = 5_000_000
LARGE_TABLE_ROWS: Final = 250_000
MAX_LARGE_TABLE_POSTS_PER_HOUR: Final = 120
MAX_STRING_CHARACTERS: Final = 4_000
MINUTE_S: Final = 60.0
HOUR_S: Final = 3600.0
SCOPE: Final = "https://analysis.windows.net/powerbi/api/.default"

TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "String": (str,),
    "Int64": (int,),
    "Double": (int, float),
    "Boolean": (bool,),
    "DateTime": (str,),
}


class RefusalError(Exception):
    """What is answered instead of 200."""

    def __init__(self, status: int, code: str, message: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(f"{status} {code} {message}")
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s

    def response(self) -> web.Response:
        """Return it in the form that the service uses."""
        headers = {} if self.retry_after_s is None else {"Retry-After": str(math.ceil(self.retry_after_s))}
        error = {"error": {"code": self.code, "message": self.message}}
        return web.json_response(error, status=self.status, headers=headers)


@dataclass
class Table:
    """One table; of its rows the bodies of the POSTs that brought them are kept."""

    columns: dict[str, str]
    keeps: int
    total: int = 0
    posts: deque[tuple[int, bytes]] = field(default_factory=deque)

    @property
    def stored(self) -> int:
        """How many rows are in it now."""
        return min(self.total, self.keeps)

    def append(self, count: int, body: bytes) -> None:
        """Take a POST of `count` rows; a FIFO table forgets its oldest ones."""
        self.posts.append((count, body))
        self.total += count
        held = sum(count for count, _ in self.posts)
        while held - self.posts[0][0] >= self.keeps:
            held -= self.posts.popleft()[0]

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows that are stored, oldest first."""
        rows = [row for _, body in self.posts for row in json.loads(body)["rows"]]
        return rows[-self.keeps :]


@dataclass
class Dataset:
    """One push semantic model."""

    dataset_id: str
    name: str
    fifo: bool
    tables: dict[str, Table]
    pending: int = 0
    posts: deque[tuple[float, int]] = field(default_factory=deque)  # time and rows of an hour's POSTs
    not_before: float = 0.0  # what Retry-After said last


class PowerBiDouble:
    """The service on a port of its own. `clock` is its time in seconds.

    Attributes:
        breaches: A sentence for each limit that a client broke.
        scripted: Answers for the next POSTs of rows, one each; None lets one through.
        applied_unanswered: How many of the next POSTs are applied, then cut without an answer.
        open: Clear it to hold POSTs of rows after they were counted, before they are applied.
        max_body_bytes: 413 above it.
        expired_is_403: Expired tokens get 403 TokenExpired, as the service does, else 401.
        allowed: Clear it to have the service principal refused with 403.
        token_refusal: Answer of the token service instead of a token: status and OAuth error code.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.workspace = str(uuid.uuid4())
        self.tenant = str(uuid.uuid4())
        self.client_id = str(uuid.uuid4())
        self.client_secret = "s3cret~" + secrets.token_urlsafe(24)
        self.token_lifetime_s = 3599.0
        self.tokens: dict[str, float] = {}  # token and when it expires
        self.datasets: dict[str, Dataset] = {}
        self.breaches: list[str] = []
        self.scripted: deque[RefusalError | None] = deque()
        self.applied_unanswered = 0
        self.open = asyncio.Event()
        self.open.set()
        self.max_body_bytes: int | None = None
        self.expired_is_403 = False
        self.allowed = True
        self.token_refusal: tuple[int, str] | None = None
        self.echoes: list[str] = []  # what the token service was told, to say back in its errors
        self.requests: list[str] = []
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self) -> None:
        """Listen."""
        app = web.Application(client_max_size=256 << 20)
        groups = "/v1.0/myorg/groups/{group}"
        app.router.add_post("/{tenant}/oauth2/v2.0/token", self._token)
        app.router.add_get(groups + "/datasets", self._api(self._list_datasets))
        app.router.add_post(groups + "/datasets", self._api(self._create_dataset))
        app.router.add_post(groups + "/datasets/{dataset}/tables/{table}/rows", self._api(self._post_rows))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def close(self) -> None:
        """Stop listening."""
        assert self._runner is not None
        self.open.set()
        await self._runner.cleanup()

    @property
    def token_url(self) -> str:
        """Where tokens are issued."""
        return f"{self.url}/{self.tenant}/oauth2/v2.0/token"

    def add_dataset(self, name: str, tables: Mapping[str, Mapping[str, str]], fifo: bool = True) -> Dataset:
        """Create a model with these tables (column names and types)."""
        if len(tables) > MAX_TABLES:
            self._breach(f"{len(tables)} tables in a model; the limit is {MAX_TABLES}")
        for table, columns in tables.items():
            if len(columns) > MAX_COLUMNS:
                self._breach(f"{len(columns)} columns in {table}; the limit is {MAX_COLUMNS}")
        keeps = MAX_FIFO_ROWS if fifo else MAX_ROWS_WITHOUT_POLICY
        dataset = Dataset(
            str(uuid.uuid4()), name, fifo, {name: Table(dict(cols), keeps) for name, cols in tables.items()}
        )
        self.datasets[dataset.dataset_id] = dataset
        return dataset

    def _breach(self, sentence: str) -> None:
        self.breaches.append(sentence)

    # --- the token service ------------------------------------------------------------------
    async def _token(self, request: web.Request) -> web.Response:
        self.requests.append(f"{request.method} {request.path}")
        form = await request.post()
        self.echoes.append(str(dict(form)))
        expected = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "scope": SCOPE,
        }
        if self.token_refusal is not None:
            return self._no_token(*self.token_refusal)
        if request.match_info["tenant"] != self.tenant:
            return self._no_token(400, "invalid_request")
        if dict(form) != expected:
            return self._no_token(401, "invalid_client")
        token = "t0ken." + secrets.token_urlsafe(32)
        self.tokens[token] = self.clock() + self.token_lifetime_s
        return web.json_response(
            {"token_type": "Bearer", "expires_in": self.token_lifetime_s, "access_token": token}
        )

    def _no_token(self, status: int, code: str) -> web.Response:
        """Answer as the token service does; a careless one would say back what it was sent."""
        description = f"AADSTS7000215: Invalid client secret provided. {self.echoes[-1]}"
        return web.json_response({"error": code, "error_description": description}, status=status)

    # --- the API ----------------------------------------------------------------------------
    def _api(self, handler: Callable[[web.Request], Any]) -> Callable[[web.Request], Any]:
        async def answer(request: web.Request) -> web.StreamResponse:
            self.requests.append(f"{request.method} {request.path}")
            try:
                self._authorise(request)
                response: web.StreamResponse = await handler(request)
            except RefusalError as refusal:
                return refusal.response()
            return response

        return answer

    def _authorise(self, request: web.Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        expires = self.tokens.get(token) if scheme == "Bearer" else None
        if expires is None:
            raise RefusalError(401, "Unauthorized", f"not a token: {token}")
        if self.clock() >= expires:
            raise RefusalError(
                403 if self.expired_is_403 else 401, "TokenExpired", "Access token has expired"
            )
        if not self.allowed:
            raise RefusalError(403, "PowerBINotAuthorizedException", f"{token} is not authorized")
        if request.match_info["group"] != self.workspace:
            raise RefusalError(404, "PowerBIFolderNotFound")

    async def _list_datasets(self, _: web.Request) -> web.Response:
        value = [
            {"id": dataset.dataset_id, "name": dataset.name, "addRowsAPIEnabled": True}
            for dataset in self.datasets.values()
        ]
        return web.json_response({"value": value})

    async def _create_dataset(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("defaultMode") != "Push" or set(body) - {"name", "defaultMode", "tables"}:
            raise RefusalError(400, "InvalidRequest", "defaultMode must be Push")
        policy = request.query.get("defaultRetentionPolicy", "None")
        tables = {
            table["name"]: {column["name"]: column["dataType"] for column in table["columns"]}
            for table in body["tables"]
        }
        if unknown := {kind for columns in tables.values() for kind in columns.values()} - set(TYPES):
            raise RefusalError(400, "InvalidRequest", f"unknown data types {unknown}")
        breaches = len(self.breaches)
        dataset = self.add_dataset(body["name"], tables, fifo=policy == "basicFIFO")
        if len(self.breaches) > breaches:
            del self.datasets[dataset.dataset_id]
            raise RefusalError(400, "InvalidRequest", self.breaches[-1])
        answer = {"id": dataset.dataset_id, "name": dataset.name, "defaultRetentionPolicy": policy}
        return web.json_response(answer, status=201)

    async def _post_rows(self, request: web.Request) -> web.StreamResponse:
        dataset = self.datasets.get(request.match_info["dataset"])
        if dataset is None:
            raise RefusalError(404, "ItemNotFound", "the dataset does not exist or is not accessible")
        table = dataset.tables.get(request.match_info["table"])
        if table is None:
            raise RefusalError(404, "TableNotFound")
        body = await request.read()
        if self.max_body_bytes is not None and len(body) > self.max_body_bytes:
            raise RefusalError(413, "RequestEntityTooLarge")
        self._check_rate(dataset, table)
        dataset.pending += 1
        try:
            if dataset.pending > MAX_PENDING_POSTS:
                self._breach(f"{dataset.pending} pending POSTs; the limit is {MAX_PENDING_POSTS}")
                raise RefusalError(429, "TooManyPendingRequests", retry_after_s=1)
            if self.scripted and (scripted := self.scripted.popleft()) is not None:
                if scripted.retry_after_s is not None:
                    dataset.not_before = self.clock() + scripted.retry_after_s
                raise scripted
            count = self._check_rows(dataset, table, body)
            await self.open.wait()
            table.append(count, body)
        finally:
            dataset.pending -= 1
        if self.applied_unanswered:
            self.applied_unanswered -= 1
            assert request.transport is not None
            request.transport.close()
        return web.Response()

    def _check_rate(self, dataset: Dataset, table: Table) -> None:
        now = self.clock()
        if now < dataset.not_before:
            wait = dataset.not_before - now
            self._breach(f"a POST {wait:.1f} s before Retry-After was over")
            raise RefusalError(429, "TooManyRequests", retry_after_s=wait)
        while dataset.posts and dataset.posts[0][0] <= now - HOUR_S:
            dataset.posts.popleft()
        minute = [at for at, _ in dataset.posts if at > now - MINUTE_S]
        if len(minute) >= MAX_POSTS_PER_MINUTE:
            self._breach(f"POST {len(minute) + 1} within a minute; the limit is {MAX_POSTS_PER_MINUTE}")
            raise RefusalError(429, "TooManyRequests", retry_after_s=minute[0] + MINUTE_S - now)
        if table.stored >= LARGE_TABLE_ROWS and len(dataset.posts) >= MAX_LARGE_TABLE_POSTS_PER_HOUR:
            self._breach(f"POST {len(dataset.posts) + 1} within an hour to a table of {table.stored} rows")
            raise RefusalError(429, "TooManyRequests", retry_after_s=dataset.posts[0][0] + HOUR_S - now)
        dataset.posts.append((now, 0))

    def _check_rows(self, dataset: Dataset, table: Table, body: bytes) -> int:
        rows = json.loads(body, parse_constant=self._not_json)["rows"]
        if len(rows) > MAX_ROWS_PER_POST:
            self._breach(f"{len(rows)} rows in a POST; the limit is {MAX_ROWS_PER_POST}")
            raise RefusalError(400, "TooManyRows")
        hour = sum(count for _, count in dataset.posts) + len(rows)
        if hour > MAX_ROWS_PER_HOUR:
            self._breach(f"{hour} rows within an hour; the limit is {MAX_ROWS_PER_HOUR}")
            raise RefusalError(429, "RowsPerHour", retry_after_s=dataset.posts[0][0] + HOUR_S - self.clock())
        if not dataset.fifo and table.stored + len(rows) > MAX_ROWS_WITHOUT_POLICY:
            self._breach(f"over {MAX_ROWS_WITHOUT_POLICY} rows in a table")
            raise RefusalError(400, "TableFull")
        for row in rows:
            self._check_row(table, row)
        at, _ = dataset.posts[-1]
        dataset.posts[-1] = (at, len(rows))
        return len(rows)

    def _not_json(self, constant: str) -> float:
        self._breach(f"{constant} is not JSON")
        raise RefusalError(400, "InvalidRequest")

    def _check_row(self, table: Table, row: dict[str, Any]) -> None:
        for name, value in row.items():
            kind = table.columns.get(name)
            if kind is None:
                raise RefusalError(400, "UnknownColumn", name)
            if value is None:
                continue
            if type(value) not in TYPES[kind]:
                raise RefusalError(400, "InvalidValue", name)
            if kind == "String" and len(value) > MAX_STRING_CHARACTERS:
                self._breach(f"{len(value)} characters in {name}; the limit is {MAX_STRING_CHARACTERS}")
                raise RefusalError(400, "StringTooLong", name)
            if kind == "DateTime" and datetime.fromisoformat(value).tzinfo is None:
                raise RefusalError(400, "InvalidValue", name)
