"""The web page of a running installation, as a person sees it in a browser."""

from __future__ import annotations

import asyncio

from playwright.async_api import Page, expect

from tests.support.browser import chromium
from tests.support.stack import Stack

PATIENCE_MS = 30_000
SENSOR = {
    "id": "press-1",
    "site": "hall-3",
    "metrics": [{"name": "temperature", "unit": "[degF]"}],
    "source": {"kind": "replay", "recording": "machine_temperature", "speed": 3000.0},
}


async def points(page: Page) -> int:
    """Return how many points the chart shows."""
    chart = page.locator('[data-chart="temperature"]')
    return int(await chart.get_attribute("data-points", timeout=PATIENCE_MS) or 0)


async def test_a_sensor_added_by_api_appears_and_its_chart_moves(stack: Stack) -> None:
    """Nothing is reloaded: the row comes, turns live, and the chart of its windows grows."""
    async with chromium() as browser:
        page = await browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(f"{stack.info['api_url']}/#token={stack.token()}")
        await expect(page.locator("#fleet-empty")).to_be_visible(timeout=PATIENCE_MS)

        await asyncio.to_thread(stack.api, "POST", "/v1/sensors", SENSOR)
        row = page.locator('[data-sensor="press-1"]')
        await expect(row.locator('[data-status="live"]')).to_be_visible(timeout=PATIENCE_MS)

        await row.click()
        await expect(page.locator('[data-chart="temperature"]')).to_be_visible(timeout=PATIENCE_MS)
        first = await points(page)
        async with asyncio.timeout(PATIENCE_MS / 1000):
            while await points(page) < first + 3:
                await page.wait_for_timeout(100)
        assert errors == []
