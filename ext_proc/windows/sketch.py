"""Quantile sketches: logarithmic buckets of 1% relative accuracy, mergeable by adding counts.

DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile
sketch with relative-error guarantees", VLDB 2019,
https://arxiv.org/abs/1908.10693): with gamma = (1 + a) / (1 - a), buckets whose
ends are at most gamma apart give every quantile within a of its value.

Instead of a logarithm, whose last bit differs between processors, the bucket
comes from the value's binary exponent and a cubic in its mantissa (the
"cubically interpolated mapping" of the authors' Java implementation, 1% more
buckets). Only exact and correctly rounded operations are used, so a log gives
the same buckets on every machine.

A bucket is a code that sorts as the values do: 0 for zero, positive for
positive values, mirrored for negative ones.

A sketch holds at most MAX_BUCKETS buckets of each sign, those of the largest
magnitudes; smaller magnitudes (of a sign, by a factor above 10^17 in one
window) count in the lowest of them. Which these are depends only on the largest
magnitude, so collapsing before or after merging gives the same.
"""

from __future__ import annotations

import functools
from typing import Final

import numpy as np

from ext_proc.windows.arrays import Bools, Floats, Ints

RELATIVE_ACCURACY: Final = 0.01
MAX_BUCKETS: Final = 2048

# s = mantissa - 1 in [0, 1); the cubic runs from 0 to 1 with a slope in ln(x) of at least 10/7.
_A: Final = 6 / 35
_B: Final = -3 / 5
_C: Final = 10 / 7
_PER_OCTAVE: Final = 34.99883330222059  # 7 / (10 ln(gamma)): written out, for `log` is not exact
_OFFSET: Final = 1 << 16  # above the index of the smallest positive float64, so that codes are positive
CODE_BITS: Final = 18
_CODE_BIAS: Final = 1 << 17  # makes all codes positive, for packing


def bucket_codes(values: Floats) -> Ints:
    """Return the bucket code of each finite value."""
    mantissa, exponent = np.frexp(np.abs(values))
    s = 2.0 * mantissa - 1.0
    octaves = ((_A * s + _B) * s + _C) * s + (exponent - 1)
    index = np.ceil(octaves * _PER_OCTAVE).astype(np.int64) + _OFFSET
    codes: Ints = np.sign(values).astype(np.int64) * index
    return codes


def bucket_values(codes: Ints) -> Floats:
    """Return the value that stands for each bucket: within RELATIVE_ACCURACY of all in it."""
    magnitude = _magnitudes()[np.abs(codes)]
    return np.copysign(magnitude, codes)


@functools.cache
def _magnitudes() -> Floats:
    """Return the value of every code from 0 on: 2 / (1/low + 1/high) of the bucket's ends."""
    index = np.arange(_CODE_BIAS) - _OFFSET
    low, low_exponent = _inverse((index - 1) / _PER_OCTAVE)
    high, high_exponent = _inverse(index / _PER_OCTAVE)
    ratio = np.ldexp(low / high, low_exponent - high_exponent)
    with np.errstate(over="ignore", under="ignore"):
        middle = np.ldexp(2.0 * low / (1.0 + ratio), low_exponent)
    magnitude: Floats = np.minimum(middle, np.finfo(np.float64).max)
    magnitude[0] = 0.0
    return magnitude


def _inverse(octaves: Floats) -> tuple[Floats, Ints]:
    """Return (mantissa in [1, 2), exponent) at a place of the cubic scale, by Newton's method."""
    exponent = np.floor(octaves)
    wanted = octaves - exponent
    s = wanted.copy()
    for _ in range(6):  # the cubic is concave and nearly straight: four steps reach the last bit
        s -= (((_A * s + _B) * s + _C) * s - wanted) / ((3 * _A * s + 2 * _B) * s + _C)
    return 1.0 + s, exponent.astype(np.int64)


def count_codes(rows: Ints, codes: Ints, counts: Ints | None = None) -> tuple[Ints, Ints, Ints]:
    """Return (row, code, count) for each distinct (row, code), sorted by both.

    Args:
        rows: Not negative, below 2**44.
        codes: Bucket codes.
        counts: How often; None: once each.
    """
    packed = (rows << CODE_BITS) + (codes + _CODE_BIAS)
    if counts is not None:
        packed, counts = _sort_together(packed, counts)
    else:
        packed.sort()
    starts = _changes(packed).nonzero()[0]
    if counts is None:
        totals = np.empty_like(starts)
        np.subtract(starts[1:], starts[:-1], out=totals[:-1])
        totals[-1:] = len(packed) - starts[-1:]
    else:
        totals = np.add.reduceat(counts, starts) if len(starts) else counts
    distinct = packed[starts]
    return distinct >> CODE_BITS, (distinct & ((1 << CODE_BITS) - 1)) - _CODE_BIAS, totals


def _sort_together(keys: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """Return keys and their counts, sorted by key: in one word if both fit, which is much faster."""
    bits = int(counts.max(initial=0)).bit_length()
    if int(keys.max(initial=0)).bit_length() + bits < 64:
        packed = (keys << bits) + counts
        packed.sort()
        return packed >> bits, packed & ((1 << bits) - 1)
    order = keys.argsort()
    return keys[order], counts[order]


def collapse(rows: Ints, codes: Ints, counts: Ints) -> tuple[Ints, Ints, Ints]:
    """Return sketches (as from count_codes) with at most MAX_BUCKETS buckets of each sign."""
    if not len(rows):
        return rows, codes, counts
    starts = _changes(rows).nonzero()[0]
    lengths = np.diff(starts, append=len(rows))
    largest = np.repeat(codes[starts + lengths - 1], lengths)  # of the positive ones
    smallest = np.repeat(codes[starts], lengths)  # the largest magnitude of the negative ones
    floor = np.where(codes > 0, largest - (MAX_BUCKETS - 1), smallest + (MAX_BUCKETS - 1))
    low = np.where(codes > 0, codes < floor, codes > floor) & (codes != 0)
    if not low.any():
        return rows, codes, counts
    return count_codes(rows, np.where(low, floor, codes), counts)


def quantiles(codes: Ints, counts: Ints, totals: Ints, q: float) -> Floats:
    """Return the q-quantile of each sketch: the value of the bucket that rank floor(q (n - 1)) falls in.

    Args:
        codes: Of all sketches one after the other, sorted within each.
        counts: Of each code.
        totals: The sum of counts of each sketch, in the same order; at least 1.
        q: 0 to 1.
    """
    cumulative = np.cumsum(counts)
    before = np.cumsum(totals) - totals
    ranks = np.floor(q * (totals - 1)).astype(np.int64)
    return bucket_values(codes[np.searchsorted(cumulative, before + ranks, side="right")])


def _changes(values: Ints) -> Bools:
    new = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=new[1:])
    return new
