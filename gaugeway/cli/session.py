"""One run of `gaugeway up`: start, demo fleet, status, end."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gaugeway.cli.client import ApiClient
from gaugeway.cli.errors import CliError, ExitCode
from gaugeway.cli.location import Location
from gaugeway.cli.view import View, make_view
from gaugeway.files import write_json
from gaugeway.supervisor.installation import Installation
from gaugeway.supervisor.supervisor import Supervisor

LIVE_TIMEOUT_S: Final = 20.0
STATUS_S: Final = 1.0
_POLL_S: Final = 0.05
_ADD_ATTEMPTS: Final = 50


@dataclass(frozen=True, slots=True)
class Demo:
    """How many demo sensors there are to be."""

    size: int

    def bodies(self) -> list[dict[str, Any]]:
        """Return them as the API takes them."""
        if self.size == 0:
            return []
        from gaugeway.demo import demo_fleet  # noqa: PLC0415 - loads psutil
        from hyperv.guest.machine import available  # noqa: PLC0415

        return demo_fleet(self.size, available())


async def run_session(installation: Installation, lock: int, demo: Demo, ready_file: Path | None) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP. Raises SupervisorError if it cannot run, or no longer."""
    if ready_file is not None:
        _unlink(ready_file)
    told_to_end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, told_to_end.set)
    view = make_view(installation)
    supervisor = Supervisor(installation, lock, view.say, lambda: view.changed(supervisor.processes))
    session = Session(installation, supervisor, view)
    work = asyncio.create_task(session.work(demo, ready_file))
    ending = asyncio.create_task(told_to_end.wait())
    try:
        await asyncio.wait({work, ending}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        ending.cancel()
        work.cancel()
        await asyncio.gather(work, ending, return_exceptions=True)
        view.closing()
        await supervisor.stop(view.ending)
        view.close()


class Session:
    """What happens between start and end."""

    def __init__(self, installation: Installation, supervisor: Supervisor, view: View) -> None:
        self._installation = installation
        self._supervisor = supervisor
        self._view = view

    async def work(self, demo: Demo, ready_file: Path | None) -> None:
        """Start, add the demo fleet, tell that all is live, then show the status for ever."""
        self._view.opening(self._supervisor.processes)
        adding = asyncio.create_task(self._add(demo))
        try:
            await self._supervisor.start()
            live = await self._until_live(await adding)
        finally:
            adding.cancel()
            await asyncio.gather(adding, return_exceptions=True)
        info = self._supervisor.info()
        if ready_file is not None:
            write_json(ready_file, info, mode=0o600)
        self._view.live(info, self._console_url(), live)
        watching = asyncio.create_task(self._supervisor.watch())
        try:
            while not watching.done():
                self._view.status(await self._status(), self._supervisor.processes)
                await asyncio.wait({watching}, timeout=STATUS_S)
            watching.result()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _add(self, demo: Demo) -> Sequence[str]:
        """Add the demo sensors that no run added yet, as soon as the API serves; return all their ids.

        One that an earlier run added, and that is not there any more, was removed by somebody who meant it.
        """
        bodies = await asyncio.to_thread(demo.bodies)
        if not bodies:
            return ()
        await self._supervisor.facts.api_url.value()
        client, file = self._client(), self._installation.layout.demo_file
        before = _added_before(file)
        new = [body for body in bodies if body["id"] not in before]
        await asyncio.gather(*(asyncio.to_thread(_add, client, body) for body in new))
        names = [body["id"] for body in new]
        if names:
            write_json(file, [*before, *names])
        self._view.say("demo fleet: " + (", ".join(names) or "was added by an earlier run"))
        return [body["id"] for body in bodies]

    async def _until_live(self, names: Sequence[str]) -> bool:
        """Wait until those of the named sensors that are there are live, at most LIVE_TIMEOUT_S.

        Returns whether they are.
        """
        deadline = time.monotonic() + LIVE_TIMEOUT_S
        while names:
            answer = await asyncio.to_thread(_ask, self._client(), "/v1/sensors")
            waiting = list(names) if answer is None else _not_live(names, answer["sensors"])
            if not waiting:
                return True
            if time.monotonic() > deadline:
                self._view.say(f"not live yet: {', '.join(waiting)}; see `gaugeway sensors list`")
                return False
            self._view.waiting(f"{len(names) - len(waiting)} of {len(names)} demo sensors are live")
            await asyncio.sleep(_POLL_S)
        return True

    async def _status(self) -> dict[str, Any] | None:
        return await asyncio.to_thread(_ask, self._client(), "/v1/status")

    def _client(self) -> ApiClient:
        url = self._supervisor.facts.api_url.known()
        assert url is not None, "asked before the API served"
        return ApiClient(Location(url, self._token()), timeout_s=5.0)

    def _token(self) -> str:
        return self._installation.layout.token_file.read_text().strip()

    def _console_url(self) -> str:
        return f"{self._supervisor.facts.api_url.known()}/#token={self._token()}"


def _added_before(file: Path) -> list[str]:
    """Return the demo sensors that earlier runs added."""
    try:
        names: list[str] = json.loads(file.read_text())
    except FileNotFoundError:
        return []
    return names


def _not_live(names: Sequence[str], sensors: Sequence[dict[str, Any]]) -> list[str]:
    """Return those of the named sensors that are there, and stay, and are not live."""
    states = {each["id"]: each["status"] for each in sensors}
    return [name for name in names if states.get(name, "removing") not in {"live", "removing"}]


def _add(client: ApiClient, body: dict[str, Any]) -> None:
    """Add a sensor, if it is not there."""
    key = str(uuid.uuid4())
    for attempt in range(_ADD_ATTEMPTS):
        try:
            client.post("/v1/sensors", body, key)
        except CliError as error:
            if error.status == 409:
                return
            if error.code == ExitCode.REFUSED or attempt == _ADD_ATTEMPTS - 1:
                raise
            time.sleep(_POLL_S)
        else:
            return


def _ask(client: ApiClient, path: str) -> dict[str, Any] | None:
    """Return the answer, None while the API is away."""
    try:
        answer: dict[str, Any] = client.get(path)
    except CliError:
        return None
    return answer


def _unlink(file: Path) -> None:
    file.unlink(missing_ok=True)
