"""Partial order sampling: every access has a priority, and accesses in conflict with the last one get another.

X. Yuan, J. Yang, R. Gu: "Partial Order Aware Concurrency Sampling", CAV 2018. Orders that differ in nothing but accesses which are
not in conflict count as one; each of them is found about as often as any other, where PCT and random choices prefer some.
"""

from collections.abc import Sequence
from random import Random
from typing import Final

from kev.race.shared import SharedAccesses
from kev.race.strategy.placed import PlacedScheduler, PlacedStrategy


class PosScheduler(PlacedScheduler):
    """See above."""

    def __init__(self, vcpus: int, shared: SharedAccesses, random: Random) -> None:
        super().__init__(shared, random)
        self._priorities: Final = [random.random() for _ in range(vcpus)]
        """Of the access that each vCPU makes next."""
        self._last: tuple[int, int] | None = None
        """Who made the last access, and by which instruction."""

    def choose(self, runnable: Sequence[int]) -> int:
        if self._last is not None:
            last, place = self._last
            for vcpu in range(len(self._priorities)):
                if vcpu == last or self.shared.are_in_conflict(place, self.where(vcpu)):
                    self._priorities[vcpu] = self._random.random()
        chosen = max(runnable, key=self._priorities.__getitem__)
        self._last = chosen, self.where(chosen)
        return chosen


class Pos(PlacedStrategy):
    """Partial order sampling."""

    name = "pos"
    described = "partial order sampling"

    def scheduler_of(self, shared: SharedAccesses, random: Random) -> PlacedScheduler:
        return PosScheduler(self.vcpus, shared, random)
