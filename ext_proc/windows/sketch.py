"""Quantile sketches: logarithmic buckets of 1% relative accuracy, mergeable by adding counts.

DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile
sketch with relative-error guarantees", VLDB 2019): value x > 0 falls into
bucket ceil(log_gamma(x)) with gamma = (1 + a) / (1 - a); the bucket's value
2 gamma^i / (gamma + 1) is within a of every x in it.

A bucket is an int32 code that sorts as the values do: 0 for zero, positive for
positive values, mirrored for negative ones. float64 has some 75,000 buckets,
which bounds a sketch whatever it is fed.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

RELATIVE_ACCURACY: Final = 0.01
_GAMMA: Final = (1 + RELATIVE_ACCURACY) / (1 - RELATIVE_ACCURACY)
_LOG_GAMMA: Final = float(np.log(_GAMMA))
_OFFSET: Final = 1 << 17  # makes the index of the smallest positive float64 positive

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def bucket_codes(values: Floats) -> Ints:
    """Return the bucket code of each finite value."""
    magnitude = np.abs(values)
    with np.errstate(divide="ignore"):
        index = np.ceil(np.log(magnitude) / _LOG_GAMMA)
    codes = np.where(magnitude > 0, index, -_OFFSET).astype(np.int64) + _OFFSET
    return np.where(values < 0, -codes, codes)


def bucket_values(codes: Ints) -> Floats:
    """Return the representative value of each bucket code."""
    index = (np.abs(codes) - _OFFSET).astype(np.float64)
    magnitude = 2.0 * np.exp(index * _LOG_GAMMA) / (_GAMMA + 1.0)
    return np.where(codes == 0, 0.0, np.copysign(magnitude, codes))


class SketchLog:
    """Sketches of many windows, as an unordered log of (slot, bucket, count) that is compacted at times.

    Appending costs what is appended; reading some slots costs one pass over the
    log. Counts are integers, so neither order nor compaction changes a result.
    """

    __slots__ = ("_compacted", "buckets", "counts", "slots")

    def __init__(self) -> None:
        self.slots: Ints = np.empty(0, np.int64)
        self.buckets: Ints = np.empty(0, np.int64)
        self.counts: Ints = np.empty(0, np.int64)
        self._compacted = 0

    def append(self, slots: Ints, buckets: Ints, counts: Ints) -> None:
        """Add counts to buckets of slots."""
        self.slots = np.concatenate((self.slots, slots))
        self.buckets = np.concatenate((self.buckets, buckets))
        self.counts = np.concatenate((self.counts, counts))

    def compact(self, live_slots: Ints) -> None:
        """Forget all slots but `live_slots` and merge equal buckets, once the log has doubled."""
        if len(self.slots) <= 2 * self._compacted + 4096:
            return
        keep = np.isin(self.slots, live_slots)
        self.slots, self.buckets, self.counts = sum_by(
            self.slots[keep], self.buckets[keep], self.counts[keep]
        )
        self._compacted = len(self.slots)

    def of(self, slots: Ints) -> tuple[Ints, Ints, Ints]:
        """Return (position in `slots`, bucket, count), sorted by position and bucket."""
        order = np.argsort(slots)
        place = np.searchsorted(slots, self.slots, sorter=order)
        place[place == len(slots)] = 0
        position = order[place] if len(slots) else place
        hit = slots[position] == self.slots if len(slots) else np.zeros(len(self.slots), bool)
        return sum_by(position[hit], self.buckets[hit], self.counts[hit])


def sum_by(first: Ints, second: Ints, counts: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the sums of `counts` by (first, second), sorted by both."""
    if not len(first):
        return first, second, counts
    order = np.lexsort((second, first))
    first, second, counts = first[order], second[order], counts[order]
    new = np.empty(len(first), bool)
    new[0] = True
    np.logical_or(first[1:] != first[:-1], second[1:] != second[:-1], out=new[1:])
    starts = np.flatnonzero(new)
    return first[starts], second[starts], np.add.reduceat(counts, starts)


def quantiles(buckets: Ints, counts: Ints, totals: Ints, q: float) -> Floats:
    """Return the q-quantile of each sketch: the bucket in which rank q * (n - 1) falls.

    Args:
        buckets: Codes of all sketches one after the other, sorted within each.
        counts: Counts of the entries.
        totals: The sum of counts of each sketch, in the same order.
        q: 0 to 1.
    """
    if not len(totals):
        return np.empty(0, np.float64)
    cumulative = np.cumsum(counts)
    before = np.concatenate(([0], np.cumsum(totals)[:-1]))
    ranks = np.floor(q * (totals - 1)).astype(np.int64)
    index = np.searchsorted(cumulative, before + ranks, side="right")
    return bucket_values(buckets[index])
