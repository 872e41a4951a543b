"""Access tokens by the client credentials flow (OAuth 2.0, RFC 6749, section 4.4).

As learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow has it.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import aiohttp

from ext_proc.sinks.errors import RetryableSinkError, SinkError, TerminalSinkError
from ext_proc.sinks.powerbi.config import PowerBiTarget
from ext_proc.sinks.powerbi.errors import Answer, of_tokens

SCOPE: Final = "https://analysis.windows.net/powerbi/api/.default"
_RENEW_BEFORE: Final = 0.1  # of its life, at most RENEW_BEFORE_S
RENEW_BEFORE_S: Final = 300.0


class Tokens:
    """Keeps one access token and renews it before it expires.

    `now_s` is a monotonic clock. `secrets` are what must not appear in any text:
    the client secret as it was read last, and the token.
    """

    def __init__(
        self,
        config: PowerBiTarget,
        http: aiohttp.ClientSession,
        now_s: Callable[[], float],
        unix_s: Callable[[], float],
    ) -> None:
        self._config = config
        self._http = http
        self._now_s = now_s
        self._unix_s = unix_s
        self._token = ""
        self._renew_at_s = 0.0
        self._secret = ""
        self._asking = asyncio.Lock()

    def __repr__(self) -> str:
        return f"Tokens({self._config.tokens_from})"

    @property
    def secrets(self) -> tuple[str, str]:
        """What must not appear in any text."""
        return self._secret, self._token

    async def get(self) -> str:
        """Return a token that is good for some time.

        Raises RetryableSinkError and TerminalSinkError.
        """
        async with self._asking:
            if not self._token or self._now_s() >= self._renew_at_s:
                await self._ask()
            return self._token

    def forget(self, token: str) -> None:
        """Ask anew next time, unless that has been done since `token` was given out."""
        if token == self._token:
            self._token = ""

    async def _ask(self) -> None:
        self._secret = await asyncio.to_thread(read_secret, self._config)
        form = {
            "grant_type": "client_credentials",
            "client_id": self._config.client_id,
            "client_secret": self._secret,
            "scope": SCOPE,
        }
        url = self._config.tokens_from
        asked_s = self._now_s()
        try:
            async with self._http.post(url, data=form, allow_redirects=False) as response:
                answer = Answer(response.status, response.headers, await response.text(errors="replace"))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RetryableSinkError(f"{url} does not answer: {type(error).__name__}") from error
        if answer.status != 200:
            raise of_tokens(answer, url, self._unix_s())
        self._token, life_s = _granted(answer.body, url)
        self._renew_at_s = asked_s + life_s - min(RENEW_BEFORE_S, life_s * _RENEW_BEFORE)


def read_secret(config: PowerBiTarget) -> str:
    """Return the client secret. Raises TerminalSinkError if there is none where the configuration says."""
    if config.client_secret_env is not None:
        secret = os.environ.get(config.client_secret_env, "")
        where = f"the environment variable {config.client_secret_env}"
    else:
        assert config.client_secret_file is not None
        where = f"the file {config.client_secret_file}"
        try:
            secret = Path(config.client_secret_file).read_text("utf-8").strip()
        except OSError as error:
            raise TerminalSinkError(
                f"{where} with the client secret cannot be read: {error.strerror}"
            ) from error
        except UnicodeDecodeError:
            raise TerminalSinkError(f"{where} (client secret) is not text") from None
    if not secret:
        raise TerminalSinkError(f"{where} must hold the client secret: it is empty or not set")
    return secret


def _granted(body: str, url: str) -> tuple[str, float]:
    """Return token and life in seconds. Errors never quote the body: it may hold a token."""
    error: SinkError = TerminalSinkError(f"{url} answered 200 without a token: check token_url")
    try:
        granted = json.loads(body)
        token, life_s = str(granted["access_token"]), float(granted["expires_in"])
    except (ValueError, KeyError, TypeError):
        raise error from None
    if not token:
        raise error
    return token, life_s
