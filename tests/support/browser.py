"""Chromium without a window: the system's, else Playwright's own."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from typing import Final

import pytest
from playwright.async_api import Browser, Error, Playwright, async_playwright

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS: Final = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Return a running browser; without one the test is skipped, in CI it fails."""
    async with async_playwright() as playwright:
        browser = await _launch(playwright)
        try:
            yield browser
        finally:
            await browser.close()


async def _launch(playwright: Playwright) -> Browser:
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    root = os.geteuid() == 0  # Chromium's sandbox refuses root
    try:
        return await playwright.chromium.launch(
            executable_path=found, headless=True, args=list(_FLAGS), chromium_sandbox=not root
        )
    except Error as error:
        reason = f"no Chromium that starts (install Debian's chromium): {error.message}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
