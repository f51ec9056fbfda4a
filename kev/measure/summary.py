"""Medians of repeated measurements, and how far they can be trusted."""

from collections.abc import Iterable, Sequence
from itertools import chain
from math import ceil, comb
from statistics import median

import attrs

CONFIDENCE = 0.95
PERCENTILES = (50, 95, 99)


@attrs.frozen(slots=True)
class Summary:
    """The median of a metric, and an interval that holds the true one with a probability of 95 %, if the rounds allow one."""

    median: float
    low: float | None
    high: float | None
    """The ends of the interval; None if there are too few values for one."""
    values: tuple[float, ...]
    """One of each round."""
    runs: tuple[tuple[float, ...], ...] = ()
    """Those of all single runs, by round. Empty if they are not known."""

    def differs(self, other: "Summary") -> bool | None:
        """Whether the intervals have nothing in common; None if there is none to compare, so that nothing can be told."""
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return None
        return self.low > other.high or other.low > self.high

    @property
    def percentiles(self) -> dict[int, float]:
        """Of all single runs, by percent (nearest rank): those above which at least one run is to be expected."""
        found = sorted(chain.from_iterable(self.runs))
        return {percent: found[ceil(len(found) * percent / 100) - 1] for percent in PERCENTILES if _allows(len(found), percent)}


def _allows(runs: int, percent: int) -> bool:
    return runs * (100 - percent) >= 100


def summarize(values: Sequence[float], runs: Iterable[Sequence[float]] = ()) -> Summary:
    """The interval lies between two of the values, whatever their distribution: the order statistics of the binomial law."""
    ordered = sorted(values)
    outside = values_outside(len(ordered))
    low, high = (None, None) if outside is None else (ordered[outside], ordered[-1 - outside])
    return Summary(median(ordered), low, high, tuple(values), tuple(map(tuple, runs)))


def values_outside(count: int) -> int | None:
    """How many of `count` values may be left out at each end, so that the rest still holds the median with 95 % probability.

    None if not even all of them do: if there are fewer than 6.
    """
    outside, tail = -1, 1
    while 2 * tail <= (1 - CONFIDENCE) * 2**count:
        outside += 1
        tail += comb(count, outside + 1)
    return None if outside < 0 else outside
