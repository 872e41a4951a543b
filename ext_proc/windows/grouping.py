"""Which windows the readings of a record fall into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ext_proc.windows.arrays import Floats, Ints
from ext_proc.windows.statistics import COUNT, Partials, partials


@dataclass(frozen=True, slots=True)
class SortedReadings:
    """Readings that windows take: each series in one run, sorted by (time, seq). At least one."""

    sensor: Ints
    series: Ints
    time: Ints  # Unix ns
    seq: Ints
    value: Floats


@dataclass(frozen=True, slots=True)
class WindowGroups:
    """Groups of readings by (size, series, number of the window), each once; ascending in number.

    Attributes:
        size: Place in the sizes that were given.
        sensor, series: Of the readings.
        number: A window starts at number * size.
        statistics: A row for each group.
        members: The group of each reading for the first size, then for the second, and so on.
    """

    size: Ints
    sensor: Ints
    series: Ints
    number: Ints
    statistics: Partials
    members: Ints


def group(readings: SortedReadings, sizes_ns: Sequence[int]) -> WindowGroups:
    """Group readings into windows of each size."""
    n = len(readings.time)
    number = np.empty((len(sizes_ns), n), np.int64)
    for row, size_ns in enumerate(sizes_ns):
        np.floor_divide(readings.time, size_ns, out=number[row])
    new = np.ones(number.shape, bool)
    np.not_equal(number[:, 1:], number[:, :-1], out=new[:, 1:])
    new[:, 1:] |= readings.series[1:] != readings.series[:-1]
    starts = np.flatnonzero(new)
    size, first = np.divmod(starts, n)
    value = np.tile(readings.value, len(sizes_ns))
    found = partials(value, readings.time, readings.seq, starts, first)
    return WindowGroups(
        size=size,
        sensor=readings.sensor[first],
        series=readings.series[first],
        number=number.ravel()[starts],
        statistics=found,
        members=np.repeat(np.arange(len(starts)), found.ints[:, COUNT]),
    )
