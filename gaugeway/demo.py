"""The demo fleet: sensors of this machine, and replays of recorded industrial ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import Any, Final

from hyperv.guest.machine import UNITS
from hyperv.recordings import UNIT

_INTERVAL_MS: Final = 500
_OF_THIS_MACHINE: Final = (
    ("machine-cpu", ("cpu_load", "cpu_temperature")),
    ("machine-memory", ("memory_used",)),
    ("machine-network", ("net_receive", "net_transmit")),
    ("machine-disk", ("disk_read", "disk_write")),
)
# The recording's own spacing at this speed: some 2 readings a second.
_REPLAYS: Final = (
    ("press", "hall-1", "machine_temperature", 600.0),
    ("office", "office", "ambient_temperature", 7200.0),
)


def demo_fleet(size: int, available: Sequence[str]) -> list[dict[str, Any]]:
    """Return `size` sensors as the API takes them; the same ones for the same arguments.

    First those of this machine (of the quantities that are `available`) with the
    first replay of each recording among them, then more replays, each a little faster.
    """
    replays = _replays()
    first = [next(replays), next(replays)]
    machine = list(_machine(available))
    ordered = [*machine[:1], first[0], *machine[1:2], first[1], *machine[2:]]
    return [*ordered[:size], *islice(replays, max(0, size - len(ordered)))]


def _machine(available: Sequence[str]) -> Iterator[dict[str, Any]]:
    for name, quantities in _OF_THIS_MACHINE:
        metrics = [{"name": each, "unit": UNITS[each]} for each in quantities if each in available]
        if metrics:
            source = {"kind": "machine", "interval_ms": _INTERVAL_MS}
            yield {"id": name, "host": "lab", "site": "this-machine", "metrics": metrics, "source": source}


def _replays() -> Iterator[dict[str, Any]]:
    for number in count(1):
        for name, site, recording, speed in _REPLAYS:
            faster = speed * (1 + (number - 1) % 10 / 20)
            yield {
                "id": f"{name}-{number}",
                "host": "lab",
                "site": site,
                "metrics": [{"name": "temperature", "unit": UNIT}],
                "source": {"kind": "replay", "recording": recording, "speed": faster},
            }
