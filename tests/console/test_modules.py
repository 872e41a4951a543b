"""The page's pure modules, run where they run: in a browser."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page

from tests.api.server import Api

pytestmark = pytest.mark.timeout(60)


async def run(page: Page, api: Api, module: str, body: str, argument: Any = None) -> Any:
    """Return what `body` (of a function of module `m` and `a`) returns."""
    await page.goto(api.url)
    script = f"async a => {{ const m = await import('/assets/{module}.js'); {body} }}"
    return await page.evaluate(script, argument)


async def test_numbers_and_units(api: Api, page: Page) -> None:
    """Four digits that mean something, units as people write them, bytes scaled."""
    values = [0, 1.23456, 12345.6, 1e12, 0.00001, -3.5]
    shown = await run(page, api, "format", "return a.map(v => m.number(v))", values)
    assert shown == ["0", "1.235", "12,346", "1.00e+12", "1.00e-5", "-3.5"]
    cases = [["Cel", 20], ["By/s", 2500], ["By", 3e9], ["kPa", 5000], ["[degF]", 1]]
    scales = await run(page, api, "format", "return a.map(([u, v]) => m.scaleOf(u, v))", cases)
    assert [(scale["divisor"], scale["label"]) for scale in scales] == [
        (1, "°C"),
        (1000, "kB/s"),
        (1e9, "GB"),
        (1, "kPa"),
        (1, "°F"),
    ]


async def test_ticks_are_round(api: Api, page: Page) -> None:
    """Steps of 1, 2 or 5, with the digits that they need, and no negative zero."""
    ticks = await run(page, api, "format", "return [m.ticks(-0.1, 1.9, 4), m.ticks(61.1, 61.4, 3)]")
    assert ticks[0] == {"values": [0, 0.5, 1, 1.5], "decimals": 1}
    assert [round(value, 6) for value in ticks[1]["values"]] == [61.1, 61.2, 61.3, 61.4]


async def test_events_are_read_however_they_are_cut(api: Api, page: Page) -> None:
    """Chunks may end anywhere; comments are told apart."""
    text = ': keepalive\n\nevent: windows\ndata: {"a":1}\n\ndata: x\ndata: y\n\nevent: half'
    body = """
      const results = [];
      for (const size of [1, 2, 7, 1000]) {
        const chunks = (async function* () {
          for (let at = 0; at < a.length; at += size) yield a.slice(at, at + size);
        })();
        const found = [];
        for await (const event of m.readEvents(chunks)) found.push([event.name, event.data]);
        results.push(found);
      }
      return results;"""
    expected = [["", " keepalive"], ["windows", '{"a":1}'], ["message", "x\ny"]]
    assert await run(page, api, "api", body, text) == [expected] * 4


async def test_the_finest_windows_are_drawn(api: Api, page: Page) -> None:
    """Coarse windows fill in where no finer one is; a later revision replaces an earlier one."""
    body = """
      const series = new m.Series();
      for (const [start, size, revision, mean] of a) {
        const values = { count: 1, min: mean, max: mean, mean, last: mean };
        series.add({ start: start * 1000, size: size * 1000, revision, ...values });
      }
      const points = series.points(0).map((point) => [point.start / 1000, point.size / 1000, point.mean]);
      return [points, series.end, series.last.mean];"""
    windows = [(60, 60, 1, 0), (120, 60, 1, 0), (170, 10, 1, 0), (180, 10, 1, 0)]
    windows += [(185, 1, 1, 0), (190, 1, 1, 0), (191, 1, 2, 7), (191, 1, 1, 5)]
    points, end, last = await run(page, api, "series", body, windows)
    assert points == [[60, 60, 0], [170, 10, 0], [185, 1, 0], [190, 1, 0], [191, 1, 7]]
    assert (end, last) == (192_000, 7)


async def test_old_windows_are_forgotten(api: Api, page: Page) -> None:
    """Windows of 1 s are kept for ten minutes: a page may stay open for days."""
    body = """
      const series = new m.Series();
      for (let n = 0; n < 2000; n += 1) {
        series.add({ start: n * 1000, size: 1000, revision: 1, count: 1, min: 0, max: 0, mean: 0, last: 0 });
      }
      return series.points(0).length;"""
    assert await run(page, api, "series", body) == 600
