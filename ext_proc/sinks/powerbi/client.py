"""The part of Power BI's REST API that push semantic models need.

learn.microsoft.com/rest/api/power-bi/push-datasets: PostDatasetInGroup, PostRowsInGroup; GetDatasetsInGroup.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp
from yarl import URL

from ext_proc.sinks.errors import RetryableSinkError, TerminalSinkError
from ext_proc.sinks.powerbi import errors
from ext_proc.sinks.powerbi.config import PowerBiTarget
from ext_proc.sinks.powerbi.tokens import Tokens

_JSON: Final = {"Content-Type": "application/json"}


class PowerBiClient:
    """One workspace. Every method raises RetryableSinkError and TerminalSinkError."""

    def __init__(
        self, config: PowerBiTarget, http: aiohttp.ClientSession, tokens: Tokens, unix_s: Callable[[], float]
    ) -> None:
        self._config = config
        self._http = http
        self._tokens = tokens
        self._unix_s = unix_s
        self._workspace = URL(config.base_url) / "v1.0/myorg/groups" / config.workspace

    async def post_rows(self, dataset: str, table: str, body: bytes) -> None:
        """Add rows to a table (powerbi.rows.encode). After a RetryableSinkError they may have been added."""
        url = self._workspace / "datasets" / dataset / "tables" / table / "rows"
        await self._call("POST", url, body, f"dataset {dataset} with the table {table}")

    async def find_dataset(self, dataset_id: str | None, name: str | None) -> str | None:
        """Return the id of the push semantic model with that id or name; None if there is none."""
        text = await self._call("GET", self._workspace / "datasets", None, "any dataset")
        key, wanted = ("id", dataset_id) if dataset_id is not None else ("name", name)
        found = [entry for entry in _parsed(text, "value") if entry.get(key) == wanted]
        where = f"workspace {self._config.workspace}"
        if len(found) > 1:
            raise TerminalSinkError(f"{where} has {len(found)} datasets named {wanted!r}: give the id of one")
        if found and not found[0].get("addRowsAPIEnabled", False):
            raise TerminalSinkError(f"dataset {wanted!r} in {where} is no push semantic model: take another")
        return str(found[0]["id"]) if found else None

    async def create_dataset(self, definition: Mapping[str, Any]) -> str:
        """Create a model (powerbi.rows.definition) that keeps the newest 200,000 rows; return its id."""
        url = (self._workspace / "datasets").with_query(defaultRetentionPolicy="basicFIFO")
        what = f"dataset {definition['name']!r}"
        return str(_parsed(await self._call("POST", url, json.dumps(definition).encode(), what), "id"))

    async def _call(self, method: str, url: URL, body: bytes | None, what: str) -> str:
        """Return the text of a successful answer."""
        token = await self._tokens.get()
        answer = await self._request(method, url, body, token)
        if errors.token_expired(answer):
            self._tokens.forget(token)
            answer = await self._request(method, url, body, await self._tokens.get())
        if 200 <= answer.status < 300:
            return answer.body
        place = errors.Place(self._config.client_id, self._config.workspace, what)
        raise errors.of_api(answer, place, self._unix_s())

    async def _request(self, method: str, url: URL, body: bytes | None, token: str) -> errors.Answer:
        headers = {"Authorization": f"Bearer {token}", **(_JSON if body is not None else {})}
        try:
            async with self._http.request(
                method, url, data=body and io.BytesIO(body), headers=headers, allow_redirects=False
            ) as response:
                text = await response.text(errors="replace")
        except TimeoutError as error:
            # The request may be pending there yet, and only five of them may be: let time pass.
            wait_s = self._config.timeout_s
            raise RetryableSinkError(
                f"{self._config.base_url} does not answer within {wait_s:g} s", wait_s
            ) from error
        except aiohttp.ClientError as error:
            raise RetryableSinkError(
                f"{self._config.base_url} does not answer: {type(error).__name__}"
            ) from error
        text = errors.without(self._tokens.secrets, text)
        return errors.Answer(response.status, response.headers, text)


def _parsed(text: str, field: str) -> Any:
    """Return a field of a JSON answer. Raises TerminalSinkError if it is not there."""
    try:
        return json.loads(text)[field]
    except (ValueError, KeyError, TypeError):
        raise TerminalSinkError(f"base_url leads to no Power BI: an answer lacks {field!r}") from None
