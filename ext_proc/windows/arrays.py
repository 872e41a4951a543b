"""Array types, and arrays that grow."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_Scalar = TypeVar("_Scalar", bound=np.generic)


def grown(array: npt.NDArray[_Scalar], length: int, fill: float | None = None) -> npt.NDArray[_Scalar]:
    """Return an array with at least `length` rows that begins with `array`; others hold `fill`, if any.

    Capacity at least doubles, so that growing row by row costs a constant a row.
    """
    held = len(array)
    if length <= held:
        return array
    larger = np.empty((max(length, 2 * held, 16), *array.shape[1:]), array.dtype)
    larger[:held] = array
    if fill is not None:
        larger[held:] = fill
    return larger


def ranges(starts: Ints, lengths: Ints) -> Ints:
    """Return the integers of all ranges start..start+length-1, one range after the other."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(total)
