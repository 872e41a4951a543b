"""Statistics of groups of readings, and their merging. Each is exact in any order but for rounding.

A group's row has two parts: FLOATS and INTS below. Mean and deviation merge as
in Chan, Golub, LeVeque: "Updating formulae and a pairwise algorithm for
computing sample variances" (1979), here with the root mean square deviation
sqrt(M2 / n) in place of M2: it is always a float64, also where squares of the
values are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ext_proc.windows.arrays import Bools, Floats, Ints

MEAN, DEVIATION, SUM, MIN, MAX, FIRST, LAST = range(7)
FLOATS: Final = ("mean", "deviation", "sum", "min", "max", "first", "last")
COUNT, FIRST_TIME, FIRST_SEQ, LAST_TIME, LAST_SEQ = range(5)
INTS: Final = ("count", "first_time", "first_seq", "last_time", "last_seq")

_LARGEST: Final = float(np.finfo(np.float64).max)
_MAX_SQUARABLE: Final = 1e150
_MIN_SQUARABLE: Final = 1e-140


@dataclass(frozen=True, slots=True)
class Partials:
    """Statistics of n groups: `floats` is (n, len(FLOATS)), `ints` (n, len(INTS)).

    A sum outside float64's range is stated as the range's end.
    """

    floats: Floats
    ints: Ints

    def __getitem__(self, rows: Ints | Bools) -> Partials:
        """Return some rows."""
        return Partials(self.floats[rows], self.ints[rows])


def partials(value: Floats, time: Ints, seq: Ints, starts: Ints) -> Partials:
    """Return the statistics of consecutive groups of readings, each sorted by (time, seq).

    Args:
        value: Finite values.
        time: Event times, Unix ns.
        seq: Sequence numbers.
        starts: Where each group begins.
    """
    count = np.empty_like(starts)
    np.subtract(starts[1:], starts[:-1], out=count[:-1])
    count[-1] = len(value) - starts[-1]
    last = starts + count - 1
    low, high = np.minimum.reduceat(value, starts), np.maximum.reduceat(value, starts)
    with np.errstate(over="ignore"):
        spread = high - low
    moments = _moments
    if max(-low.min(), high.max()) > _MAX_SQUARABLE or ((spread > 0) & (spread < _MIN_SQUARABLE)).any():
        moments = _scaled_moments
    floats = np.empty((len(starts), len(FLOATS)))
    mean, floats[:, DEVIATION], floats[:, SUM] = moments(value, starts, count)
    # Rounding must not move a mean outside.
    np.minimum(np.maximum(mean, low), high, out=floats[:, MEAN])
    floats[:, MIN], floats[:, MAX] = low, high
    floats[:, FIRST], floats[:, LAST] = value[starts], value[last]
    ints = np.empty((len(starts), len(INTS)), np.int64)
    ints[:, COUNT] = count
    ints[:, FIRST_TIME], ints[:, FIRST_SEQ] = time[starts], seq[starts]
    ints[:, LAST_TIME], ints[:, LAST_SEQ] = time[last], seq[last]
    return Partials(floats, ints)


def _moments(value: Floats, starts: Ints, count: Ints) -> tuple[Floats, Floats, Floats]:
    """Return mean, root mean square deviation and sum of each group."""
    total = np.add.reduceat(value, starts)
    mean = total / count
    deviation = value - mean.repeat(count)
    np.square(deviation, out=deviation)
    return mean, np.sqrt(np.add.reduceat(deviation, starts) / count), total


def _scaled_moments(value: Floats, starts: Ints, count: Ints) -> tuple[Floats, Floats, Floats]:
    """Return what _moments does, for values whose sums or squares leave the range of float64."""
    mean, exponent = _scaled_mean(value, starts, count)
    deviation = np.ldexp(value, -np.repeat(exponent, count)) - np.repeat(mean, count)
    _, own = np.frexp(np.maximum.reduceat(np.abs(deviation), starts))
    squares = np.square(np.ldexp(deviation, -np.repeat(own, count)))
    with np.errstate(over="ignore", under="ignore"):
        spread = np.ldexp(np.sqrt(np.add.reduceat(squares, starts) / count), own + exponent)
        total = np.ldexp(mean * count, exponent)
        mean = np.ldexp(mean, exponent)
    return _saturated(mean), _saturated(spread), _saturated(total)


def _scaled_mean(value: Floats, starts: Ints, count: Ints) -> tuple[Floats, Ints]:
    """Return (m, e): each group's mean is m * 2**e, and its values times 2**-e are below 1."""
    _, exponent = np.frexp(np.maximum.reduceat(np.abs(value), starts))
    scaled = np.ldexp(value, -np.repeat(exponent, count))
    return np.add.reduceat(scaled, starts) / count, exponent.astype(np.int64)


def merged(one: Partials, two: Partials) -> Partials:
    """Return the statistics of the union of group i of `one` and group i of `two`, for each i."""
    ints, floats = np.empty_like(one.ints), np.empty_like(one.floats)
    count = one.ints[:, COUNT] + two.ints[:, COUNT]
    ints[:, COUNT] = count
    weight = two.ints[:, COUNT] / count
    mean, other = one.floats[:, MEAN], two.floats[:, MEAN]
    half = other / 2 - mean / 2  # half of the difference is always a float64
    floats[:, MEAN] = mean + half * weight + half * weight
    with np.errstate(over="ignore"):
        floats[:, SUM] = _saturated(one.floats[:, SUM] + two.floats[:, SUM])
    floats[:, DEVIATION] = _root_of_squares(
        one.floats[:, DEVIATION] * np.sqrt(1 - weight),
        two.floats[:, DEVIATION] * np.sqrt(weight),
        np.abs(half) * (2 * np.sqrt(weight * (1 - weight))),
    )
    np.minimum(one.floats[:, MIN], two.floats[:, MIN], out=floats[:, MIN])
    np.maximum(one.floats[:, MAX], two.floats[:, MAX], out=floats[:, MAX])
    np.clip(floats[:, MEAN], floats[:, MIN], floats[:, MAX], out=floats[:, MEAN])
    earlier = _precedes(two.ints[:, FIRST_TIME], two.ints[:, FIRST_SEQ], one.ints, FIRST_TIME, FIRST_SEQ)
    later = ~_precedes(two.ints[:, LAST_TIME], two.ints[:, LAST_SEQ], one.ints, LAST_TIME, LAST_SEQ)
    for take, columns, value in (
        (earlier, (FIRST_TIME, FIRST_SEQ), FIRST),
        (later, (LAST_TIME, LAST_SEQ), LAST),
    ):
        for column in columns:
            ints[:, column] = np.where(take, two.ints[:, column], one.ints[:, column])
        floats[:, value] = np.where(take, two.floats[:, value], one.floats[:, value])
    return Partials(floats, ints)


def sample_deviation(deviation: Floats, count: Ints) -> Floats:
    """Return the sample standard deviation (n - 1); 0 for one reading, at most float64's largest."""
    with np.errstate(over="ignore"):
        return _saturated(deviation * np.sqrt(count / np.maximum(count - 1, 1)))


def _precedes(time: Ints, seq: Ints, rows: Ints, time_column: int, seq_column: int) -> Bools:
    """Say where (time, seq) is before that of `rows`."""
    before: Bools = time < rows[:, time_column]
    before |= (time == rows[:, time_column]) & (seq < rows[:, seq_column])
    return before


def _root_of_squares(a: Floats, b: Floats, c: Floats) -> Floats:
    """Return sqrt(a^2 + b^2 + c^2) of non-negative numbers without leaving float64's range on the way.

    A result that only rounding puts outside is stated as the range's end.
    """
    largest = np.maximum(np.maximum(a, b), c)
    divisor = np.where(largest > 0, largest, 1.0)
    factor = np.sqrt((a / divisor) ** 2 + (b / divisor) ** 2 + (c / divisor) ** 2)
    with np.errstate(over="ignore"):
        return _saturated(largest * factor)


def _saturated(values: Floats) -> Floats:
    return np.clip(values, -_LARGEST, _LARGEST)
