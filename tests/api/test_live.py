"""Event streams: what they send, and how they end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from control_plane.api import events
from tests.api.fleet import NOW_NS, live_window
from tests.api.server import PRESS, Api, serving
from tests.api.test_sensors import assert_problem
from tests.journal.support import wait_for
from wire.status import LiveWindows

WAIT_S = 10.0


async def follow(api: Api, path: str) -> aiohttp.ClientResponse:
    """Open an event stream."""
    response = await api.session.get(api.url + path, headers={"Authorization": f"Bearer {api.token}"})
    assert response.status == 200
    assert response.content_type == "text/event-stream"
    return response


async def events_of(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
    """Yield (event, data) as a browser would; ("", text) for a comment."""
    name, data = "", ""
    async for raw in response.content:
        line = raw.decode().rstrip("\n")
        if line.startswith(":"):
            yield "", line[1:].strip()
        elif line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            data = line[6:]
        elif not line and name:
            yield name, json.loads(data)
            name = ""


async def next_of(stream: AsyncIterator[tuple[str, Any]]) -> tuple[str, Any]:
    """Return the next event that is no comment."""
    async with asyncio.timeout(WAIT_S):
        async for event in stream:
            if event[0]:
                return event
    raise AssertionError("the stream ended")


async def test_the_fleet_is_followed(api: Api) -> None:
    """All sensors at once, then again when one changed; what looks the same is not sent."""
    await api.call("POST", "/v1/sensors", json={**PRESS, "id": "press-2"})
    stream = events_of(response := await follow(api, "/v1/live/sensors"))
    name, data = await next_of(stream)
    assert name == "sensors"
    assert data["sensors"] == [
        {
            "id": "press-2",
            "site": "hall-3",
            "host": "lab",
            "status": "pending",
            "message": "its VM is being created",
            "readings_per_s": 0.0,
            "metrics": ["temperature"],
        }
    ]
    await api.fleet.touch()
    await api.call("POST", "/v1/sensors", json=PRESS)
    _, data = await next_of(stream)
    assert [sensor["id"] for sensor in data["sensors"]] == ["press-1", "press-2"]
    await api.fleet.go_live("press-1")
    _, data = await next_of(stream)
    assert (data["sensors"][0]["status"], data["sensors"][0]["readings_per_s"]) == ("live", 4.0)
    response.close()


async def test_windows_are_followed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only of the sensors that were asked for, as they were published."""
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    for name in ("press-1", "press-2", "press-3"):
        await api.call("POST", "/v1/sensors", json={**PRESS, "id": name})
    stream = events_of(response := await follow(api, "/v1/live/windows?sensor=press-1&sensor=press-3"))
    await wait_for("the stream is subscribed", lambda: bool(api.fleet.subscribers))
    for name in ("press-1", "press-2", "press-3"):
        api.fleet.publish(LiveWindows(sensor_id=name, windows=[live_window("temperature", NOW_NS, 20.0)]))
    received = [await next_of(stream) for _ in range(2)]
    assert [(name, data["sensor_id"]) for name, data in received] == [
        ("windows", "press-1"),
        ("windows", "press-3"),
    ]
    assert received[0][1]["windows"][0]["start_unix_ns"] == NOW_NS
    response.close()
    await wait_for("the fleet forgets a client that left", lambda: not api.fleet.subscribers)


async def test_bad_questions_are_refused(api: Api) -> None:
    """No sensor, too many, or one that there is not: a problem, not a stream."""
    assert_problem(*await api.call("GET", "/v1/live/windows"), 422, "invalid-request")
    many = "&".join(f"sensor=s{n}" for n in range(65))
    assert_problem(*await api.call("GET", f"/v1/live/windows?{many}"), 422, "invalid-request")
    assert_problem(*await api.call("GET", "/v1/live/windows?sensor=none"), 404, "not-found")
    response, _ = await api.call("HEAD", "/v1/live/sensors")
    assert response.status == 405


async def test_a_quiet_stream_is_kept_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comments come while nothing happens, so that either side notices when the other has gone."""
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    async with serving(tmp_path) as api:
        await api.call("POST", "/v1/sensors", json=PRESS)
        stream = events_of(response := await follow(api, "/v1/live/windows?sensor=press-1"))
        async with asyncio.timeout(WAIT_S):
            assert await anext(stream) == ("", "keepalive")
            assert await anext(stream) == ("", "keepalive")
        response.close()


async def test_streams_end_with_the_control_plane(tmp_path: Path) -> None:
    """A shutdown ends every stream in order and at once: the client sees an end, no error."""
    async with serving(tmp_path) as api:
        await api.call("POST", "/v1/sensors", json=PRESS)
        responses = [await follow(api, f"/v1/live/{what}") for what in ("sensors", "windows?sensor=press-1")]
        began = asyncio.get_running_loop().time()
        await api.runner.cleanup()
        for response in responses:
            async with asyncio.timeout(WAIT_S):
                await response.read()
        assert asyncio.get_running_loop().time() - began < 2.0
        assert not api.fleet.subscribers


async def test_streams_are_limited(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than the limit is refused; a place that becomes free is given again."""
    monkeypatch.setattr(events, "MAX_STREAMS", 1)
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    response = await follow(api, "/v1/live/sensors")
    assert_problem(*await api.call("GET", "/v1/live/sensors"), 503, "too-many-streams")
    response.close()

    async def admitted() -> bool:
        headers = {"Authorization": f"Bearer {api.token}"}
        async with api.session.get(api.url + "/v1/live/sensors", headers=headers) as again:
            return again.status == 200

    await wait_for("another is admitted", admitted)


async def test_a_stream_that_fails_is_broken_off(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer has begun: a problem would stand in its middle, so the connection just ends."""
    await api.call("POST", "/v1/sensors", json=PRESS)

    def failing(_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(api.fleet, "live_windows", failing)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.url.rpartition(":")[2]))
    target = "/v1/live/windows?sensor=press-1"
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token}\r\n\r\n".encode())
    with capture_logs() as logged:
        async with asyncio.timeout(WAIT_S):
            answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert [each["event"] for each in logged] == ["request_failed"]
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert b"problem" not in answer
    assert not answer.endswith(b"0\r\n\r\n"), "it must not look complete"
