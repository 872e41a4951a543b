"""A double of Power BI's push REST API and of the token service, which counts every broken limit.

A limit that is broken gets the service's answer and a line in `breaches`; a
test fails when there is one that it did not ask for.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web

from tests.support.powerbi_limits import (
    MAX_FIFO_ROWS,
    MAX_PENDING_POSTS,
    MAX_ROWS_WITHOUT_POLICY,
    Dataset,
    RefusalError,
    Table,
    check_tables,
)

SCOPE: Final = "https://analysis.windows.net/powerbi/api/.default"


class PowerBiDouble:
    """The service on a port of its own. `clock` is its time in seconds.

    Attributes:
        breaches: A sentence for each limit that a client broke.
        scripted: Answers for the next POSTs of rows, one each; None lets one through.
        applied_unanswered: How many of the next POSTs are applied, then cut without an answer.
        open: Clear it to hold POSTs of rows after they were counted, before they are applied.
        held: Gets an item for each POST that is held.
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
        self.held: asyncio.Queue[None] = asyncio.Queue()
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
        keeps = MAX_FIFO_ROWS if fifo else MAX_ROWS_WITHOUT_POLICY
        dataset = Dataset(
            str(uuid.uuid4()), name, fifo, {name: Table(dict(cols), keeps) for name, cols in tables.items()}
        )
        self.datasets[dataset.dataset_id] = dataset
        return dataset

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
                if refusal.breach is not None:
                    self.breaches.append(refusal.breach)
                return _response(refusal)
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
        check_tables(tables)
        dataset = self.add_dataset(body["name"], tables, fifo=policy == "basicFIFO")
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
        dataset.count_post(table, self.clock())
        dataset.pending += 1
        try:
            if dataset.pending > MAX_PENDING_POSTS:
                breach = f"{dataset.pending} pending POSTs; the limit is {MAX_PENDING_POSTS}"
                raise RefusalError(429, "TooManyPendingRequests", retry_after_s=1, breach=breach)
            if self.scripted and (scripted := self.scripted.popleft()) is not None:
                if scripted.retry_after_s is not None:
                    dataset.not_before = self.clock() + scripted.retry_after_s
                raise scripted
            count = dataset.count_rows(table, body, self.clock())
            if not self.open.is_set():
                self.held.put_nowait(None)
                await self.open.wait()
            table.append(count, body)
        finally:
            dataset.pending -= 1
        if self.applied_unanswered:
            self.applied_unanswered -= 1
            assert request.transport is not None
            request.transport.close()
        return web.Response()


def _response(refusal: RefusalError) -> web.Response:
    """Return a refusal in the form that the service uses."""
    headers = {} if refusal.retry_after_s is None else {"Retry-After": str(math.ceil(refusal.retry_after_s))}
    error = {"error": {"code": refusal.code, "message": refusal.message}}
    return web.json_response(error, status=refusal.status, headers=headers)
