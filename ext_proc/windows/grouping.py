"""Which windows the readings of a record fall into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ext_proc.windows.arrays import Floats, Ints, ranges
from ext_proc.windows.statistics import Partials, partials


@dataclass(frozen=True, slots=True)
class SortedReadings:
    """Readings that windows take: each series in one run, sorted by (time, seq). At least one."""

    sensor: Ints
    series: Ints
    time: Ints  # Unix ns
    seq: Ints
    value: Floats
    row: Ints  # which row of the record each is


@dataclass(frozen=True, slots=True)
class WindowGroups:
    """Groups of readings by (size, series, number of the window), each once; ascending in number.

    Readings that share their window at every size are a cell, so a group is a
    run of cells.

    Attributes:
        size: Place in the sizes that were given.
        sensor, series: Of the readings.
        number: A window starts at number * size.
        statistics: A row for each group.
        first_cell, cells: The cells of each group.
        cell_of: The cell of each reading.
    """

    size: Ints
    sensor: Ints
    series: Ints
    number: Ints
    statistics: Partials
    first_cell: Ints
    cells: Ints
    cell_of: Ints


def group(readings: SortedReadings, sizes_ns: Sequence[int]) -> WindowGroups:
    """Group readings into windows of each size."""
    n = len(readings.time)
    number = np.empty((len(sizes_ns), n), np.int64)
    for row, size_ns in enumerate(sizes_ns):
        np.floor_divide(readings.time, size_ns, out=number[row])
    new = np.ones(number.shape, bool)
    np.not_equal(number[:, 1:], number[:, :-1], out=new[:, 1:])
    new[:, 1:] |= readings.series[1:] != readings.series[:-1]
    new_cell = np.logical_or.reduce(new)
    cell_of = np.cumsum(new_cell) - 1
    starts = new.ravel().nonzero()[0]  # of groups, size after size
    size = starts // n
    first = starts - size * n
    first_cell = cell_of[first]
    cells = np.empty_like(first_cell)  # each size has all cells, so the next group begins where one ends
    np.subtract(first_cell[1:], first_cell[:-1], out=cells[:-1])
    cells[-1] = cell_of[-1] + 1 - first_cell[-1]
    last_of_size = (size[1:] != size[:-1]).nonzero()[0]
    cells[last_of_size] = cell_of[-1] + 1 - first_cell[last_of_size]
    return WindowGroups(
        size=size,
        sensor=readings.sensor[first],
        series=readings.series[first],
        number=number.ravel()[starts],
        statistics=_statistics(readings, new_cell.nonzero()[0], first_cell, cells),
        first_cell=first_cell,
        cells=cells,
        cell_of=cell_of,
    )


def _statistics(readings: SortedReadings, cell_starts: Ints, first_cell: Ints, cells: Ints) -> Partials:
    """Return the statistics of groups: those of their cell, or of their readings if they have several."""
    of_cells = partials(readings.value, readings.time, readings.seq, cell_starts)
    several = (cells > 1).nonzero()[0]
    if not len(several):
        return of_cells[first_cell]
    whole = of_cells[first_cell]
    ends = np.append(cell_starts, len(readings.value))
    first = cell_starts[first_cell[several]]
    lengths = ends[first_cell[several] + cells[several]] - first
    rows = ranges(first, lengths)
    starts = np.cumsum(lengths) - lengths
    found = partials(readings.value[rows], readings.time[rows], readings.seq[rows], starts)
    whole.floats[several], whole.ints[several] = found.floats, found.ints
    return whole
