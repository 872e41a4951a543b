"""Quantities of the machine that runs the agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import psutil

UNITS: Final[Mapping[str, str]] = {
    "cpu_temperature": "Cel",
    "cpu_load": "%",
    "memory_used": "%",
    "disk_read": "By/s",
    "disk_write": "By/s",
    "net_receive": "By/s",
    "net_transmit": "By/s",
}
"""Metric name to UCUM unit, for every quantity that can be captured."""


def _cpu_temperature() -> float | None:
    read = getattr(psutil, "sensors_temperatures", None)  # not on every platform
    sensors = read() if read is not None else {}
    for name in ("coretemp", "k10temp", "zenpower", "cpu_thermal", "acpitz"):
        if sensors.get(name):
            return float(sensors[name][0].current)
    return None


def _counter(read: Callable[[], object], field: str) -> float | None:
    counters = read()
    return None if counters is None else float(getattr(counters, field))


_COUNTERS: Final[Mapping[str, Callable[[], float | None]]] = {
    "disk_read": lambda: _counter(psutil.disk_io_counters, "read_bytes"),
    "disk_write": lambda: _counter(psutil.disk_io_counters, "write_bytes"),
    "net_receive": lambda: _counter(psutil.net_io_counters, "bytes_recv"),
    "net_transmit": lambda: _counter(psutil.net_io_counters, "bytes_sent"),
}

_GAUGES: Final[Mapping[str, Callable[[], float | None]]] = {
    "cpu_temperature": _cpu_temperature,
    "cpu_load": lambda: psutil.cpu_percent(interval=None),
    "memory_used": lambda: psutil.virtual_memory().percent,
}


def available() -> list[str]:
    """Return the names of the quantities that this machine has."""
    return [name for name in UNITS if (_GAUGES.get(name) or _COUNTERS[name])() is not None]


class MachineReader:
    """Reads the named quantities; rates are over the time since the last call."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._last: dict[str, tuple[int, float]] = {}

    def read(self, now_ns: int) -> dict[str, float]:
        """Return name to value; a rate appears from the second call on, a missing quantity never."""
        values: dict[str, float] = {}
        for name in self._names:
            value = _GAUGES[name]() if name in _GAUGES else self._rate(name, now_ns)
            if value is not None:
                values[name] = value
        return values

    def _rate(self, name: str, now_ns: int) -> float | None:
        count = _COUNTERS[name]()
        if count is None:
            return None
        before = self._last.get(name)
        self._last[name] = (now_ns, count)
        if before is None or now_ns <= before[0]:
            return None
        return max(0.0, (count - before[1]) / ((now_ns - before[0]) / 1e9))
