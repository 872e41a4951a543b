"""Sensors and series by index, in the order in which the log first names them."""

from __future__ import annotations

from typing import Final

import numpy as np

from ext_proc.windows.arrays import Ints, grown

_QUANTITY_BITS: Final = 24


class Names:
    """Sensors with their sites; quantities: (metric, unit); series: a sensor's quantity.

    Attributes:
        moves: How often a sensor's site has changed.
        series: How many series there are.
        series_sensor, series_quantity: By series.
    """

    def __init__(self) -> None:
        self.sensors: list[str] = []
        self.sites: list[str] = []  # by sensor: where its newest reading was taken
        self.moves = 0
        self.quantities: list[tuple[str, str]] = []
        self.series = 0
        self.series_sensor: Ints = np.empty(0, np.int64)
        self.series_quantity: Ints = np.empty(0, np.int64)
        self._sensors: dict[str, int] = {}
        self._quantities: dict[tuple[str, str], int] = {}
        self._keys: Ints = np.empty(0, np.int64)  # of all series, sorted
        self._series: Ints = np.empty(0, np.int64)  # of each key

    def sensor(self, name: str, site: str | None = None) -> int:
        """Return the index of a sensor; `site` replaces the one it had."""
        found = self._sensors.get(name)
        if found is None:
            found = self._sensors[name] = len(self.sensors)
            self.sensors.append(name)
            self.sites.append("")
        if site is not None:
            self.moves += bool(self.sites[found]) and self.sites[found] != site
            self.sites[found] = site
        return found

    def quantity(self, metric: str, unit: str) -> int:
        """Return the index of a metric with its unit."""
        found = self._quantities.setdefault((metric, unit), len(self.quantities))
        if found == len(self.quantities):
            self.quantities.append((metric, unit))
        return found

    def series_of(self, sensor: Ints, quantity: Ints) -> Ints:
        """Return the series of distinct pairs; new ones are numbered in the order given."""
        keys = (sensor << _QUANTITY_BITS) + quantity
        place = np.searchsorted(self._keys, keys)
        if self.series:
            np.minimum(place, self.series - 1, out=place)
            new = self._keys[place] != keys
            if not new.any():
                return self._series[place]
        else:
            new = np.ones(len(keys), bool)
        self._add_series(keys[new], sensor[new], quantity[new])
        return self._series[np.searchsorted(self._keys, keys)]

    def _add_series(self, keys: Ints, sensor: Ints, quantity: Ints) -> None:
        first, last = self.series, self.series + len(keys)
        self.series = last
        self.series_sensor = grown(self.series_sensor, last, 0)
        self.series_quantity = grown(self.series_quantity, last, 0)
        self.series_sensor[first:last], self.series_quantity[first:last] = sensor, quantity
        keys = np.concatenate((self._keys, keys))
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._series = np.concatenate((self._series, np.arange(first, last)))[order]
