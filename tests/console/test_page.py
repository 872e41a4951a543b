"""The web page in a real browser."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from control_plane.api import events
from tests.api.fleet import live_window
from tests.api.server import PRESS, Api, serving
from tests.journal.support import wait_for
from wire.status import LiveWindows

pytestmark = pytest.mark.timeout(90)

NS_PER_S = 1_000_000_000
MACHINE: dict[str, Any] = {
    "id": "node-1",
    "host": "lab",
    "site": "office",
    "metrics": [{"name": "cpu_load", "unit": "%"}, {"name": "net_receive", "unit": "By/s"}],
    "source": {"kind": "machine", "interval_ms": 250},
}


async def add(api: Api, body: dict[str, Any], *, live: bool = True) -> None:
    """Add a sensor by the API."""
    response, _ = await api.call("POST", "/v1/sensors", json=body)
    assert response.status == 201
    if live:
        await api.fleet.go_live(body["id"])


async def sign_in(page: Page, api: Api, fragment: str = "") -> None:
    """Open the page by the link that `gaugeway up` prints."""
    await page.goto(f"{api.url}/#token={api.token}{fragment}")


def publish(api: Api, sensor_id: str, metric: str, second: int, mean: float) -> None:
    """Send a window of 1 s, `second` seconds from the epoch."""
    window = live_window(metric, second * NS_PER_S, mean)
    api.fleet.publish(LiveWindows(sensor_id=sensor_id, windows=[window]))


async def followed(api: Api) -> None:
    """Wait until the page follows a sensor's windows."""
    await wait_for("the page follows windows", lambda: bool(api.fleet.subscribers))


async def test_a_page_without_a_token_asks_for_it(api: Api, page: Page) -> None:
    """A wrong token is refused in words; the right one opens the fleet and is in no URL."""
    await add(api, PRESS)
    await page.goto(api.url)
    await expect(page.get_by_label("Token", exact=True)).to_be_focused()
    await page.keyboard.type("wrong")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("not one of this installation")
    await page.get_by_label("Token", exact=True).fill(api.token)
    await page.get_by_role("button", name="Open").click()
    await expect(page.locator("[data-sensor=press-1]")).to_be_visible()
    await page.reload()
    await expect(page.locator("[data-sensor=press-1]")).to_be_visible()
    assert api.token not in page.url


async def test_a_link_with_the_token_opens_the_fleet(api: Api, page: Page) -> None:
    """The token is taken out of the address at once; an empty fleet says how to fill it."""
    await sign_in(page, api)
    await expect(page.get_by_text("There are no sensors yet")).to_be_visible()
    assert page.url == f"{api.url}/"
    await expect(page.locator("#connection")).to_have_text("connected")


async def test_the_fleet_is_live(api: Api, page: Page) -> None:
    """A sensor that is added appears, its status changes in place, and it goes when it is gone."""
    await add(api, {**PRESS, "id": "press-2"})
    await sign_in(page, api)
    rows = page.locator("[data-sensor]")
    await expect(rows).to_have_count(1)
    await add(api, PRESS, live=False)
    await expect(rows).to_have_count(2)
    row = page.locator("[data-sensor=press-1]")
    await expect(row.locator("[data-status]")).to_have_attribute("data-status", "pending")
    await expect(row).to_contain_text("its VM is being created")
    ids = await rows.evaluate_all("rows => rows.map(row => row.dataset.sensor)")
    assert ids == ["press-1", "press-2"]
    await api.fleet.go_live("press-1", rate=12.3)
    await expect(row.locator("[data-status=live]")).to_have_text("live")
    await expect(row).to_contain_text("12.3")
    await expect(page.locator("#counts")).to_contain_text("2 sensors")
    await expect(page.locator("#counts")).to_contain_text("16.3 readings/s")
    await api.fleet.drop("press-2")
    await expect(rows).to_have_count(1)


async def test_the_table_is_sorted_and_filtered(api: Api, page: Page) -> None:
    """By column, both ways, and by any words."""
    await add(api, PRESS)
    await add(api, MACHINE)
    await api.fleet.set_status("press-1", "degraded", "a gap")
    await sign_in(page, api)
    rows = page.locator("[data-sensor]")
    await expect(rows).to_have_count(2)
    await expect(rows.first).to_have_attribute("data-sensor", "node-1")
    header = page.get_by_role("columnheader", name="Site")
    await header.get_by_role("button").press("Enter")
    await expect(rows.first).to_have_attribute("data-sensor", "press-1")
    await expect(header).to_have_attribute("aria-sort", "ascending")
    await page.get_by_label("Filter").fill("cpu OFFICE")
    await expect(rows).to_have_count(1)
    await expect(rows.first).to_have_attribute("data-sensor", "node-1")
    await page.get_by_label("Filter").fill("none such")
    await expect(page.get_by_text("No sensor matches")).to_be_visible()


async def test_a_sensor_has_a_live_chart_for_each_metric(api: Api, page: Page) -> None:
    """Seeded from the history, moved by live windows; opened and left by keyboard."""
    await add(api, MACHINE)
    await sign_in(page, api)
    await page.get_by_role("link", name="node-1").press("Enter")
    await expect(page.get_by_role("heading", name="node-1")).to_be_focused()
    charts = page.locator("[data-chart]")
    await expect(charts).to_have_count(2)
    chart = page.locator("[data-chart=cpu_load]")
    await expect(chart).not_to_have_attribute("data-points", "0")
    await followed(api)
    seeded = int(await chart.get_attribute("data-points") or 0)
    now = time.time_ns() // NS_PER_S
    for second in range(3):
        publish(api, "node-1", "cpu_load", now + second, 40.0 + second)
    await expect(chart).to_have_attribute("data-last", "42.5")
    assert int(await chart.get_attribute("data-points") or 0) >= 3
    assert seeded > 0
    await expect(chart).to_contain_text("42.5 %")
    await expect(page.locator("#sensor-facts")).to_contain_text("127.20.0.1:9000")
    await expect(page.locator("#sensor-facts")).to_contain_text("the connection to its VM failed")
    await expect(page.locator("#sensor-status")).to_have_text("live")
    await page.get_by_role("link", name="Fleet").press("Enter")
    await expect(page.locator("#fleet")).to_be_visible()


async def test_each_window_moves_the_chart(api: Api, browser: Browser, tmp_path: Any) -> None:
    """Without a history a chart has exactly the live windows, shows the last, and can be read by keys."""
    async with serving(tmp_path / "other", history=False) as bare:
        await add(bare, PRESS)
        page = await browser.new_page()
        await sign_in(page, bare, "&sensor=press-1")
        chart = page.locator("[data-chart=temperature]")
        await expect(chart).to_contain_text("No windows yet")
        await followed(bare)
        for second in range(1, 6):
            publish(bare, "press-1", "temperature", 1_769_860_800 + second, 20.0 + second)
            await expect(chart).to_have_attribute("data-points", str(second))
            await expect(chart).to_have_attribute("data-last", str(20.5 + second))
        picture = chart.get_by_role("img")
        label = "temperature: last 25.5 °F; mean 25, min 24, max 26 at "
        assert (await picture.get_attribute("aria-label") or "").startswith(label)
        await picture.focus()
        await picture.press("ArrowLeft")
        await picture.press("ArrowLeft")
        await expect(chart).to_contain_text("mean 24 · min 23 · max 25 · 4 in 1 s")
        await page.close()


async def test_a_sensor_that_is_removed_meanwhile(api: Api, page: Page) -> None:
    """Its view says so, and nothing is followed any more."""
    await add(api, PRESS)
    await sign_in(page, api, "&sensor=press-1")
    await followed(api)
    await api.fleet.drop("press-1")
    await expect(page.locator("#sensor-status")).to_have_text("gone")
    await page.get_by_role("link", name="Fleet").click()
    await expect(page.get_by_text("There are no sensors yet")).to_be_visible()


async def test_the_page_comes_back(browser: Browser, tmp_path: Any) -> None:
    """While the server is away the page says so and tries again; then it goes on by itself."""
    page = await browser.new_page()
    async with contextlib.AsyncExitStack() as first:
        api = await first.enter_async_context(_with_press(tmp_path))
        port = int(api.url.rpartition(":")[2])
        await sign_in(page, api)
        await expect(page.locator("[data-sensor=press-1]")).to_be_visible()
    await expect(page.locator("#connection")).to_contain_text("no connection, next try in")
    await expect(page.locator("[data-sensor=press-1]")).to_be_visible()
    async with _with_press(tmp_path, port=port) as api:
        await expect(page.locator("#connection")).to_have_text("connected", timeout=20_000)
        await api.fleet.set_status("press-1", "degraded", "a gap")
        await expect(page.locator("[data-sensor=press-1] [data-status=degraded]")).to_be_visible()
        await page.close()


@contextlib.asynccontextmanager
async def _with_press(folder: Any, port: int = 0) -> AsyncIterator[Api]:
    async with serving(folder, port=port) as api:
        await add(api, PRESS)
        yield api


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_a_narrow_screen(api: Api, browser: Browser, scheme: Any) -> None:
    """At 400 px nothing needs sideways scrolling, whatever the colours."""
    await add(api, {**PRESS, "id": "furnace-inlet-temperature-of-the-second-line-07"})
    await add(api, MACHINE)
    page = await browser.new_page(color_scheme=scheme, viewport={"width": 400, "height": 800})
    await sign_in(page, api)
    await expect(page.locator("[data-sensor]")).to_have_count(2)
    assert await page.evaluate("document.documentElement.scrollWidth") == 400
    await page.locator("[data-sensor=node-1]").click()
    await expect(page.locator("[data-chart]")).to_have_count(2)
    assert await page.evaluate("document.documentElement.scrollWidth") == 400
    ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(246, 247, 248)") == (scheme == "light")
    await page.close()


async def test_a_hidden_tab_keeps_no_connection(
    api: Api, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser allows few connections to a server: tabs that nobody looks at give theirs back."""
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.2)
    await add(api, PRESS)
    await sign_in(page, api, "&sensor=press-1")
    await followed(api)
    visibility = "value => Object.defineProperty(document, 'hidden', {value, configurable: true})"
    changed = "document.dispatchEvent(new Event('visibilitychange'))"
    await page.evaluate(visibility, True)
    await page.evaluate(changed)
    await wait_for("the page has left", lambda: not api.fleet.subscribers)
    await page.evaluate(visibility, False)
    await page.evaluate(changed)
    await followed(api)
