"""Missing sequence numbers: which of them a note names, and how many holes they are."""

from __future__ import annotations

from collections.abc import Sequence

Interval = tuple[int, int]
"""Sequence numbers first..last, both inclusive."""


def count_gaps(missing: Sequence[Interval], told: Sequence[Interval]) -> tuple[int, int]:
    """Return (holes, sequence numbers in them).

    A note is one hole if it names any number that is missing; what is missing
    and in no note is one hole for each unbroken run.

    Args:
        missing: Disjoint runs of missing numbers.
        told: Holes as notes name them, in any order; they may overlap, or name what is not missing.
    """
    notes: set[int] = set()
    found = 0
    for first, last in missing:
        next_seq = first
        for place, (told_first, told_last) in sorted(enumerate(told), key=lambda entry: entry[1]):
            if told_last < next_seq or told_first > last:
                continue
            found += told_first > next_seq
            notes.add(place)
            next_seq = told_last + 1
        found += next_seq <= last
    return len(notes) + found, sum(last - first + 1 for first, last in missing)
