"""PCT whose steps are accesses to what vCPUs share: there are fewer of them than instructions, and nothing else makes a difference.

See `kev.race.strategy.pct`. The bound is the same, with the number of places that a run passes in the place of its steps.
"""

from collections.abc import Sequence
from random import Random
from typing import Final

from kev.race.shared import SharedAccesses
from kev.race.strategy.pct import PctScheduler
from kev.race.strategy.placed import PlacedScheduler, PlacedStrategy


class PlacedPctScheduler(PlacedScheduler):
    """Runs whoever has the highest priority; before each of `depth - 1` random places, who would run drops below everybody."""

    def __init__(self, vcpus: int, shared: SharedAccesses, depth: int, random: Random) -> None:
        super().__init__(shared, random)
        self._by_priority: Final = PctScheduler(vcpus, max(shared.passed, 1), depth, random)

    def choose(self, runnable: Sequence[int]) -> int:
        return self._by_priority.next(runnable, 1).vcpu


class PlacedPct(PlacedStrategy):
    """PCT at places, for bugs of a given depth."""

    name = "places"

    def __init__(self, seed: int = 0, depth: int = 2) -> None:
        super().__init__(seed)
        self.depth: Final = depth
        self.described = f"PCT of depth {depth} at places"

    def scheduler_of(self, shared: SharedAccesses, random: Random) -> PlacedScheduler:
        return PlacedPctScheduler(self.vcpus, shared, self.depth, random)
