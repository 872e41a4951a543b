"""Fixtures of the web page's tests: a browser, and a page that must behave."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page

from tests.api.server import Api, serving
from tests.support.browser import chromium


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """A served API with an empty fleet."""
    async with serving(tmp_path) as api:
        yield api


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A running Chromium."""
    async with chromium() as browser:
        yield browser


@pytest.fixture
async def page(browser: Browser, api: Api) -> AsyncIterator[Page]:
    """A page that fails the test if a script does, or if it asks another server for anything."""
    page = await browser.new_page()
    failures: list[str] = []
    strangers: list[str] = []

    def note(url: str) -> None:
        if urlsplit(url).netloc != urlsplit(api.url).netloc:
            strangers.append(url)

    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("console", lambda message: failures.append(message.text) if "Security" in message.text else None)
    page.on("request", lambda request: note(request.url))
    yield page
    await page.close()
    assert failures == []
    assert strangers == []
