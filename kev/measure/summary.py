"""Medians of repeated measurements, and how far they can be trusted."""

from collections.abc import Sequence
from math import comb
from statistics import median

import attrs

CONFIDENCE = 0.95


@attrs.frozen(slots=True)
class Summary:
    """The median of a metric and an interval that holds the true one with a probability of 95 %, or all values if there are few."""

    median: float
    low: float
    high: float
    values: tuple[float, ...]

    def overlaps(self, other: "Summary") -> bool:
        """Whether the two may well be the same: their difference is noise."""
        return self.low <= other.high and other.low <= self.high


def summarize(values: Sequence[float]) -> Summary:
    """The interval lies between two of the values, whatever their distribution: the order statistics of the binomial law."""
    ordered = sorted(values)
    outside = values_outside(len(ordered))
    return Summary(median(ordered), ordered[outside], ordered[-1 - outside], tuple(values))


def values_outside(count: int) -> int:
    """How many of `count` values may be left out at each end, so that the rest still holds the median with 95 % probability."""
    outside, tail = 0, 1 + count
    while 2 * tail <= (1 - CONFIDENCE) * 2**count:
        outside += 1
        tail += comb(count, outside + 1)
    return outside
