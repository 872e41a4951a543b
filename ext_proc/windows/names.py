"""Sensors and series by index, in the order in which the log first names them."""

from __future__ import annotations

import numpy as np

from ext_proc.windows.arrays import Ints, grown


class Names:
    """Sensors with their sites, and series: (sensor, metric, unit)."""

    def __init__(self) -> None:
        self.sensors: list[str] = []
        self.sites: list[str] = []  # by sensor: where its newest reading was taken
        self.quantities: list[tuple[str, str]] = []  # (metric, unit)
        self.series: list[tuple[int, int]] = []  # (sensor, quantity)
        self.series_sensor: Ints = np.empty(0, np.int64)
        self._sensors: dict[str, int] = {}
        self._quantities: dict[tuple[str, str], int] = {}
        self._series: dict[tuple[int, int], int] = {}

    def sensor(self, name: str, site: str | None = None) -> int:
        """Return the index of a sensor; `site` replaces the one it had."""
        found = self._sensors.get(name)
        if found is None:
            found = self._sensors[name] = len(self.sensors)
            self.sensors.append(name)
            self.sites.append("")
        if site is not None:
            self.sites[found] = site
        return found

    def quantity(self, metric: str, unit: str) -> int:
        """Return the index of a metric with its unit."""
        found = self._quantities.setdefault((metric, unit), len(self.quantities))
        if found == len(self.quantities):
            self.quantities.append((metric, unit))
        return found

    def series_of(self, sensor: int, quantity: int) -> int:
        """Return the index of a series."""
        found = self._series.setdefault((sensor, quantity), len(self.series))
        if found == len(self.series):
            self.series.append((sensor, quantity))
            self.series_sensor = grown(self.series_sensor, found + 1)
            self.series_sensor[found] = sensor
        return found
