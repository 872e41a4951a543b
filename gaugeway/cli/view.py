"""What `gaugeway up` shows: lines anywhere, a moving table on a terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gaugeway.cli.output import STATUS_STYLES
from gaugeway.supervisor.installation import Installation
from gaugeway.supervisor.process import Process

LINE_S: Final = 10.0


class View:
    """Plain lines: for pipes, logs and services."""

    def __init__(self, console: Console, installation: Installation) -> None:
        self.console = console
        self._installation = installation
        self._began = time.monotonic()
        self._serving: set[str] = set()
        self._next_line = 0.0

    def opening(self, processes: Sequence[Process]) -> None:
        """Say what is being started."""
        self.say(f"Gaugeway, data in {self._installation.layout.data_dir}")
        self.say(f"starting {', '.join(process.name for process in processes)}")

    def changed(self, processes: Sequence[Process]) -> None:
        """Say which process serves for the first time, and after how long."""
        for process in processes:
            if process.state == "running" and process.name not in self._serving:
                self._serving.add(process.name)
                self._serves(process, time.monotonic() - self._began)
        waiting = [process.name for process in processes if process.name not in self._serving]
        if waiting and self._serving:
            self.waiting(f"waiting for {', '.join(waiting)}")

    def _serves(self, process: Process, after_s: float) -> None:
        self.say(f"  {process.name:<15} serves after {after_s:4.1f} s  {process.where}")

    def waiting(self, text: str) -> None:
        """Show what is waited for, where it can be overwritten."""

    def say(self, text: str) -> None:
        """Print a sentence for good."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def live(self, info: dict[str, Any], console_url: str, live: bool) -> None:
        """Say that all is live, and where to look."""
        what = "everything is live" if live else "everything runs"
        self.say(f"{what} after {time.monotonic() - self._began:.1f} s; Ctrl-C ends it")
        for name, url in _urls(info, console_url):
            self.say(f"  {name:<15} {url}")

    def status(self, answer: dict[str, Any] | None, processes: Sequence[Process]) -> None:
        """Say how it goes, every LINE_S seconds."""
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_S
            running = sum(process.state == "running" for process in processes)
            sinks = "".join(f"; {_sink_words(sink)}" for sink in (answer or {"sinks": []})["sinks"])
            self.say(f"{running} of {len(processes)} processes run; {_fleet_words(answer)}{sinks}")

    def closing(self) -> None:
        """Leave the status: from now on it ends."""
        self.say("ending")

    def ending(self, names: Sequence[str]) -> None:
        """Say what is being ended."""
        self.say(f"  ending {', '.join(names)}")

    def close(self) -> None:
        """Say that everything ended."""
        self.say(f"ended; the data stays in {self._installation.layout.data_dir}")


class TerminalView(View):
    """A spinner while starting and ending, then a table that moves."""

    def __init__(self, console: Console, installation: Installation) -> None:
        super().__init__(console, installation)
        self._spinner = console.status("")
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._urls: Sequence[tuple[str, str]] = ()

    def opening(self, processes: Sequence[Process]) -> None:
        """Begin to spin."""
        super().opening(processes)
        self._spinner.start()

    def _serves(self, process: Process, after_s: float) -> None:
        line = Text.assemble(
            ("  ✓ ", "green"), f"{process.name:<15} ", (f"{after_s:4.1f} s  {process.where}", "dim")
        )
        self.console.print(line, soft_wrap=True)

    def waiting(self, text: str) -> None:
        """Show the text beside the spinner."""
        self._spinner.update(escape(text))

    def live(self, info: dict[str, Any], console_url: str, live: bool) -> None:
        """Stop spinning, show the table."""
        self._spinner.stop()
        self._urls = _urls(info, console_url)
        super().live(info, console_url, live)
        self._live.start()

    def status(self, answer: dict[str, Any] | None, processes: Sequence[Process]) -> None:
        """Redraw the table."""
        self._live.update(_picture(answer, processes))

    def closing(self) -> None:
        """Take the table away."""
        self._live.stop()
        self._spinner.start()
        self._spinner.update("ending")

    def ending(self, names: Sequence[str]) -> None:
        """Show what is being ended."""
        self._spinner.update(f"ending {', '.join(names)}")

    def close(self) -> None:
        """Stop spinning."""
        self._spinner.stop()
        super().close()


def make_view(installation: Installation) -> View:
    """Return the view that suits stdout."""
    console = Console()
    return TerminalView(console, installation) if console.is_terminal else View(console, installation)


def _urls(info: dict[str, Any], console_url: str) -> list[tuple[str, str]]:
    return [
        ("console", console_url),
        ("API", f"{info['api_url']}/v1/openapi.json (token in {info['token_file']})"),
        ("Envoy admin", info["envoy_admin_url"]),
        ("NATS", info["nats_url"]),
        ("warehouse", info["warehouse_dir"]),
    ]


def _fleet_words(answer: dict[str, Any] | None) -> str:
    if answer is None:
        return "the API does not answer"
    counts = dict(answer["sensors"])
    total = counts.pop("total", 0)
    words = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return (
        f"{total} sensors" + (f" ({words})" if words else "") + f", {answer['readings_per_s']:.1f} readings/s"
    )


def _sink_words(sink: dict[str, Any]) -> str:
    trouble = "" if sink["state"] == "running" else f" ({sink['state']}: {sink['message']})"
    return f"{sink['sink']} {sink['rows_delivered']:,} rows, {sink['lag_s']:.1f} s behind{trouble}"


def _picture(answer: dict[str, Any] | None, processes: Sequence[Process]) -> RenderableType:
    parts: list[RenderableType] = [_process_table(processes), Text(_fleet_words(answer), style="bold")]
    if answer is not None and answer["sinks"]:
        parts.append(_sink_table(answer["sinks"]))
    return Group(*(Padding(part, (1, 0, 0, 0)) for part in parts))


def _process_table(processes: Sequence[Process]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("PROCESS", "STATE", "SINCE", "PID", "RESTARTS", "WHERE"):
        table.add_column(name, justify="right" if name in {"SINCE", "PID", "RESTARTS"} else "left")
    now = time.monotonic()
    for process in processes:
        table.add_row(
            process.name,
            Text(process.state, style=STATUS_STYLES.get(process.state, "yellow")),
            _age(now - process.since),
            str(process.pid or ""),
            str(process.restarts.total or ""),
            Text(process.where, style="dim", overflow="ellipsis", no_wrap=True),
        )
    return table


def _sink_table(sinks: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("SINK", "STATE", "ROWS", "BEHIND", "MESSAGE"):
        table.add_column(name, justify="right" if name in {"ROWS", "BEHIND"} else "left")
    for sink in sinks:
        table.add_row(
            sink["sink"],
            Text(sink["state"], style=STATUS_STYLES.get(sink["state"], "")),
            f"{sink['rows_delivered']:,}",
            f"{sink['lag_s']:.1f} s",
            Text(sink["message"] or ""),
        )
    return table


def _age(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
